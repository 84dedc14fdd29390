package page

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/a-h/templ"
)

// Show responds with a page in the layout. The command is the equivalent on the command
// line; nil for none.
func (v *View) Show(status int, title string, command Command, content templ.Component) error {
	v.placeAxis()
	v.keepDiffView(v.Cookies.Secure)
	return v.Render(status, layout(v, title, command, content))
}

// ShowBare responds with a page that has only the wordmark around it.
func (v *View) ShowBare(status int, title string, content templ.Component) error {
	return v.Render(status, bare(v, title, content))
}

const (
	// maxRendering pages are rendered at a time. Rendering makes no calls.
	maxRendering = 16
	// maxPage is the longest page, in bytes.
	maxPage = 16 << 20
	// minCompressed is the shortest page that is compressed, in bytes.
	minCompressed = 1 << 10
)

// Render responds with a page. It is complete before its first byte is sent, so that an
// error leaves no truncated page.
func (v *View) Render(status int, page templ.Component) error {
	b, err := v.render(page)
	if err != nil {
		return fmt.Errorf("render a page: %w", err)
	}
	h := v.W.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Add("Vary", "Accept-Encoding")
	if !v.Confidential && b.Len() >= minCompressed && strings.Contains(v.R.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		v.W.WriteHeader(status)
		w, _ := gzip.NewWriterLevel(v.W, gzip.BestSpeed) // fails for a wrong level only
		w.Write(b.Bytes())                               // the user may have left
		w.Close()
		return nil
	}
	v.W.WriteHeader(status)
	v.W.Write(b.Bytes()) // the user may have left
	return nil
}

// render waits for room to render the page, or until the user leaves.
func (v *View) render(page templ.Component) (*bytes.Buffer, error) {
	ctx := v.R.Context()
	select {
	case v.rendering <- struct{}{}:
		defer func() { <-v.rendering }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	b := &boundedPage{ctx: ctx}
	return &b.Buffer, page.Render(ctx, b)
}

// boundedPage is a page in progress. Writes fail when it is too long, and when its user
// has left.
type boundedPage struct {
	bytes.Buffer
	ctx context.Context
}

func (b *boundedPage) Write(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	if b.Len()+len(p) > maxPage {
		return 0, fmt.Errorf("it has more than %d bytes", maxPage)
	}
	return b.Buffer.Write(p)
}

func (b *boundedPage) WriteString(s string) (int, error) { return b.Write([]byte(s)) }

// Redirect redirects to a path of the console, by GET.
func (v *Request) Redirect(path string) error {
	if v.R.URL.RawQuery != "" && v.R.Method == http.MethodGet && path == v.R.URL.Path+"/" {
		path += "?" + v.R.URL.RawQuery
	}
	http.Redirect(v.W, v.R, path, http.StatusSeeOther)
	return nil
}

// Download responds with a file to save.
func (v *Request) Download(name, kind, body string) error {
	h := v.W.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	v.W.Write([]byte(body)) // the user may have left
	return nil
}
