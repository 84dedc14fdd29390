package witness_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// The log's key is the same in all processes of the fuzz target: an input that one of them
// has found, signatures included, is good in the others.
const (
	fuzzSecret = "PRIVATE+KEY+stele/0102030405060708+6ec0a9bc+Af81JM8kdgHy0rZjSJzoD+Fc3xXBaKuN8Cf7lnCFVM6y"
	fuzzPublic = "stele/0102030405060708+6ec0a9bc+AXB3orG4+/SQArQ7Lc8kUKk146jSZbiEL7JnufbPR3ET"
)

// FuzzAddCheckpoint sends bodies that are changed from good ones. Whatever a witness cosigns, the
// newest checkpoint that it has can still be extended by the log. Everything is signed once,
// and each input gets a copy of one witness's file.
func FuzzAddCheckpoint(f *testing.F) {
	t := &testing.T{}
	l := newTreeOf(t, fuzzSecret, fuzzPublic)
	l.grow(t, 12, "commit")
	for _, sizes := range [][2]int64{{0, 5}, {5, 5}, {5, 8}, {8, 12}, {3, 8}} {
		f.Add(l.request(t, sizes[0], sizes[1]))
	}
	f.Add("old 0\n\n")
	f.Add("old 18446744073709551615\n\nstele/0102030405060708\n9223372036854775807\n\n\n— x AAAA\n")
	key := logKey(t, l)
	first := cosigner(t, "witness.example/w1", filepath.Join(f.TempDir(), "witness.db"))
	first.open(t, true, key)
	if got := first.post(t, l.request(t, 0, 5)); got.Code != http.StatusOK {
		f.Fatal(got.Code)
	}
	first.witness.Close()
	file, err := os.ReadFile(first.path)
	if err != nil {
		f.Fatal(err)
	}
	extends := []string{l.request(t, 5, 12), l.request(t, 8, 12), l.request(t, 12, 12)}
	f.Fuzz(func(t *testing.T, body string) {
		w := &running{cosigner: first.cosigner, path: filepath.Join(t.TempDir(), "witness.db")}
		if err := os.WriteFile(w.path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		w.open(t, false, key)
		defer w.witness.Close()
		answer := w.post(t, body)
		switch answer.Code {
		case http.StatusOK, http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity:
		default:
			t.Fatalf("answered %d %s", answer.Code, answer.Body)
		}
		for _, request := range extends {
			if w.post(t, request).Code == http.StatusOK {
				return
			}
		}
		t.Fatalf("after %q the witness has cosigned a tree that is not the log's", body)
	})
}
