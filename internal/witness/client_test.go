package witness_test

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stelehq/stele/internal/witness"
	"golang.org/x/mod/sumdb/tlog"
)

// A witness cannot make the gateway call another host, for example one of its own network.
func TestClient_FollowsNoRedirect(t *testing.T) {
	var reached atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer elsewhere.Close()
	for _, code := range []int{http.StatusFound, http.StatusTemporaryRedirect} {
		s := httptest.NewServer(http.RedirectHandler(elsewhere.URL, code))
		c := &witness.Client{URL: s.URL, HTTP: s.Client()}
		if _, err := c.Add(t.Context(), 0, tlog.TreeProof{}, "x"); err == nil {
			t.Errorf("%d is an answer to a checkpoint", code)
		}
		if _, err := c.Newest(t.Context(), "stele/0102030405060708"); err == nil {
			t.Errorf("%d is an answer to a question", code)
		}
		s.Close()
	}
	if n := reached.Load(); n > 0 {
		t.Errorf("another host was called %d times", n)
	}
}
