package rest_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/budget"
	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/identity"
)

// A caller that opens as many watches as it can leaves slots to its tenant, and its
// tenant to the others.
func TestWatch_SharesOfSlots(t *testing.T) {
	w := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	open := func(token string) bool {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.server.URL+"/v1/watch", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := w.server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp.StatusCode == http.StatusOK
	}
	fill := func(token string) (n int) {
		for open(token) {
			n++
		}
		return n
	}
	ann, colleague := w.as("acme", identity.Reader), w.token(identity.Claims{Subject: "ben", Tenant: "acme", Roles: []identity.Role{identity.Reader}})
	if n := fill(ann); n != 300 {
		t.Errorf("one caller gets %d of 900 watches, want 300", n)
	}
	if !open(colleague) {
		t.Error("another caller of the tenant gets none")
	}
	if !open(w.as("globex", identity.Reader)) {
		t.Error("another tenant gets none")
	}
	if refused := w.do("GET", "/v1/watch", ann, ""); refused.status != http.StatusServiceUnavailable || !strings.Contains(refused.body, "all tenants share") {
		t.Errorf("%d %s", refused.status, refused.body)
	}
}

// A watch that fails releases its slot.
func TestWatch_FailedOnesReleaseTheirSlots(t *testing.T) {
	w := start(t)
	ann := w.as("acme", identity.Reader)
	for i := range 301 { // one caller gets 300 slots
		if a := w.do("GET", "/v1/watch?prefix=a%3E", ann, ""); a.status != http.StatusBadRequest {
			t.Fatalf("watch %d that fails: %d %s", i, a.status, a.body)
		}
	}
}

// A caller whose calls take long has a share of all calls, and leaves the others to others.
func TestCalls_Shares(t *testing.T) {
	w := start(t, func(c *gateway.Config) {
		c.Budget = budget.New(0)
		c.Budget.Calls = 3
	})
	ann, rival := w.as("acme", identity.Reader), w.as("globex", identity.Reader)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	slow := make(chan error, 1)
	go func() {
		for {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.server.URL+"/v1/config/a?min_revision=99", nil)
			if err != nil {
				slow <- err
				return
			}
			req.Header.Set("Authorization", "Bearer "+ann)
			resp, err := w.server.Client().Do(req)
			if err == nil {
				resp.Body.Close()
				if resp.StatusCode == http.StatusTooManyRequests {
					continue // next to one of the short calls below
				}
			}
			slow <- err
			return
		}
	}()
	refused := func() answer {
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			if a := w.do("GET", "/v1/status", ann, ""); a.status != http.StatusOK {
				return a
			}
			if time.Now().After(deadline) {
				t.Fatal("a second call next to one that takes long is answered")
			}
		}
	}()
	if refused.status != http.StatusTooManyRequests || refused.header.Get("Retry-After") == "" || !strings.Contains(refused.body, `"SHARE_FULL"`) {
		t.Errorf("a caller with too many calls: %d %s", refused.status, refused.body)
	}
	w.must("GET", "/v1/status", rival, "")
	cancel()
	if err := <-slow; err == nil {
		t.Error("the slow call was answered")
	}
	for deadline := time.Now().Add(time.Minute); w.do("GET", "/v1/status", ann, "").status != http.StatusOK; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the call that has ended keeps its slot")
		}
	}
}
