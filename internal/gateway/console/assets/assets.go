// Package assets has the files that the console's pages load: styles, scripts and the
// icon.
package assets

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed *.css *.js *.svg vendor
var files embed.FS

// Root begins the paths of files that pages load. No tenant's name begins so.
const Root = "/-/assets/"

// Assets are the files that pages load, each under a name that contains its hash, so
// that browsers cache it permanently.
type Assets struct {
	byName map[string]*asset // console.css
	byPath map[string]*asset // 3f2a9c1b7d04/console.css
}

// kinds are those of files that pages load.
var kinds = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}

type asset struct {
	path, kind, integrity string
	plain, gzipped        []byte
}

// Load returns the files, compressed and hashed.
func Load() (*Assets, error) {
	a := &Assets{map[string]*asset{}, map[string]*asset{}}
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		kind := kinds[path.Ext(name)]
		if err != nil || d.IsDir() || kind == "" { // licenses are also in the binary
			return err
		}
		body, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		var z bytes.Buffer
		w, _ := gzip.NewWriterLevel(&z, gzip.BestCompression) // fails for a wrong level only
		w.Write(body)                                         // a buffer takes all
		w.Close()
		f := &asset{
			path: hex.EncodeToString(sum[:6]) + "/" + path.Base(name), kind: kind,
			integrity: "sha256-" + base64.StdEncoding.EncodeToString(sum[:]), plain: body, gzipped: z.Bytes(),
		}
		a.byName[path.Base(name)], a.byPath[f.path] = f, f
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the console's files: %w", err)
	}
	return a, nil
}

// URL is where pages find a file.
func (a *Assets) URL(name string) string { return Root + a.byName[name].path }

// Integrity is the required hash of a file.
func (a *Assets) Integrity(name string) string { return a.byName[name].integrity }

// Serve responds with a file, by its path below Root.
func (a *Assets) Serve(w http.ResponseWriter, r *http.Request, name string) {
	f, ok := a.byPath[name]
	if !ok || r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.NotFound(w, r)
		return
	}
	h, body := w.Header(), f.plain
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Content-Type", f.kind)
	h.Set("Vary", "Accept-Encoding")
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = f.gzipped
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method == http.MethodGet {
		w.Write(body)
	}
}
