package boltfile_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger/internal/boltfile"
	bolt "go.etcd.io/bbolt"
)

const pageSize = 1024

// writeFile makes a file with branches, entries that run over several pages, and free pages.
func writeFile(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "test.db")
	db, err := bolt.Open(path, 0o600, &bolt.Options{PageSize: pageSize, FreelistType: bolt.FreelistMapType, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for round := range 3 {
		err := db.Update(func(tx *bolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("entries"))
			for i := range 500 {
				if err == nil {
					err = b.Put(fmt.Appendf(nil, "%d/%03d", round, i), make([]byte, 10*i))
				}
				if round > 0 && err == nil {
					err = b.Delete(fmt.Appendf(nil, "%d/%03d", round-1, i))
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func checkPages(path string, leaves bool) (err error) {
	kind := &boltfile.Kind{Name: "test"}
	defer kind.Catch(&err)()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, PreLoadFreelist: true})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.View(func(tx *bolt.Tx) error { return kind.CheckPages(tx, leaves) })
}

func TestCheckPages_FindsDamage(t *testing.T) {
	if err := errors.Join(checkPages(writeFile(t), false), checkPages(writeFile(t), true)); err != nil {
		t.Fatal(err)
	}
	newestList := func(file []byte) int {
		meta := file[16:]
		if other := file[pageSize+16:]; binary.LittleEndian.Uint64(other[48:]) > binary.LittleEndian.Uint64(meta[48:]) {
			meta = other
		}
		return int(binary.LittleEndian.Uint64(meta[32:])) * pageSize
	}
	for _, test := range []struct {
		name, want string
		damage     func(file []byte)
	}{
		{"a used page in the free list", "used and free", func(f []byte) { binary.LittleEndian.PutUint64(f[newestList(f)+16:], uint64(newestList(f)/pageSize)) }},
		{"a page twice in the free list", "used and free", func(f []byte) { copy(f[newestList(f)+16:][:8], f[newestList(f)+24:][:8]) }},
		{"a page missing in the free list", "neither used nor free", func(f []byte) {
			count := f[newestList(f)+10:]
			binary.LittleEndian.PutUint16(count, binary.LittleEndian.Uint16(count)-1)
		}},
		{"a free list without an end", "no room", func(f []byte) { binary.LittleEndian.PutUint16(f[newestList(f)+10:], 60_000) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := writeFile(t)
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			test.damage(file)
			if err := os.WriteFile(path, file, 0o600); err != nil {
				t.Fatal(err)
			}
			err = checkPages(path, false)
			if !errors.Is(err, boltfile.ErrDamaged) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// An error of the system that passes says nothing about a file's content: it is not set aside.
func TestOpen_SystemErrorIsNotDamage(t *testing.T) {
	kind := boltfile.Kind{Name: "test"}
	for name, path := range map[string]string{"a directory": t.TempDir(), "no directory": filepath.Join(t.TempDir(), "none", "file")} {
		if _, err := kind.Open(path, 0); err == nil || errors.Is(err, boltfile.ErrDamaged) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("not a file of bbolt, and too short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := kind.Open(path, 0); !errors.Is(err, boltfile.ErrDamaged) {
		t.Errorf("other content: %v", err)
	}
}
