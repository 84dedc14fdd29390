package witness_test

import (
	"net/http"
	"testing"
)

// FuzzAddCheckpoint sends bodies that are changed from good ones. Whatever a witness cosigns, the
// newest checkpoint that it has can still be extended by the log.
func FuzzAddCheckpoint(f *testing.F) {
	t := &testing.T{}
	l := newTree(t)
	l.grow(t, 12, "commit")
	for _, sizes := range [][2]int64{{0, 5}, {5, 5}, {5, 8}, {8, 12}, {3, 8}} {
		f.Add(l.request(t, sizes[0], sizes[1]))
	}
	f.Add("old 0\n\n")
	f.Add("old 18446744073709551615\n\nstele/0102030405060708\n9223372036854775807\n\n\n— x AAAA\n")
	f.Fuzz(func(t *testing.T, body string) {
		w := start(t, "witness.example/w1", logKey(t, l))
		if got := w.post(t, l.request(t, 0, 5)); got.Code != http.StatusOK {
			t.Fatal(got.Code)
		}
		answer := w.post(t, body)
		switch answer.Code {
		case http.StatusOK, http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity:
		default:
			t.Fatalf("answered %d %s", answer.Code, answer.Body)
		}
		for _, size := range []int64{5, 8, 12} {
			if w.post(t, l.request(t, size, 12)).Code == http.StatusOK {
				return
			}
		}
		t.Fatalf("after %q the witness has cosigned a tree that is not the log's", body)
	})
}
