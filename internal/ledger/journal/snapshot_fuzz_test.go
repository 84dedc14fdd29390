package journal

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats-server/v2/server/archive"
)

// A backup's files can be damaged or come from elsewhere. The archive is fuzzed without its
// compression, whose checksums would keep most inputs out.
func FuzzReadSnapshot(f *testing.F) {
	var archived bytes.Buffer
	w := archive.NewWriter(&archived)
	for _, h := range []archive.Header{{Name: "state", PayloadSize: 2}, {Name: "stele.journal.v1", Sequence: 1, HeaderSize: 4, PayloadSize: 3}} {
		if err := w.WriteHeader(&h); err != nil {
			f.Fatal(err)
		}
		if _, err := w.Write(make([]byte, h.HeaderSize+h.PayloadSize)); err != nil {
			f.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(archived.Bytes())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		var compressed bytes.Buffer
		c := s2.NewWriter(&compressed)
		c.Write(data)
		c.Close()
		for _, from := range [][]byte{compressed.Bytes(), data} {
			readSnapshot(context.Background(), bytes.NewReader(from), func(string, Message) error { return nil })
		}
	})
}

func FuzzOpenBackup(f *testing.F) {
	f.Add(`{"format":"stele-backup/2","ledger":"0102030405060708090a0b0c0d0e0f10","streams":[{"name":"STELE","file":"STELE.snapshot"}]}`)
	f.Add(`{"format":"stele-backup/2","streams":[{"name":"../a","file":"../a.snapshot"}]}`)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(filepath.Join(dir, manifestName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if b, err := OpenBackup(dir); err == nil {
			t.Errorf("%s was accepted without its files: %+v", text, b)
		}
	})
}
