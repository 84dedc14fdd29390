package gateway_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/identity"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// rotating is an identity provider whose keys change.
type rotating struct {
	*httptest.Server
	keys    atomic.Pointer[[]byte]
	fetches atomic.Int64
}

func newRotating(t *testing.T) *rotating {
	p := &rotating{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.fetches.Add(1)
		w.Write(*p.keys.Load())
	}))
	t.Cleanup(p.Close)
	return p
}

// rotate makes a new key sign from now on, and publishes it next to some of the
// previous ones, or alone.
func (p *rotating) rotate(t *testing.T, alone bool) *identity.Signer {
	t.Helper()
	dir := t.TempDir()
	signer, err := identity.OpenSigner(dir)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(filepath.Join(dir, "jwks.json"))
	if err != nil {
		t.Fatal(err)
	}
	var set, was struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(doc, &set); err != nil {
		t.Fatal(err)
	}
	if before := p.keys.Load(); before != nil && !alone {
		if err := json.Unmarshal(*before, &was); err != nil {
			t.Fatal(err)
		}
		set.Keys = append(set.Keys, was.Keys[:min(2, len(was.Keys))]...)
	}
	if doc, err = json.Marshal(set); err != nil {
		t.Fatal(err)
	}
	p.keys.Store(&doc)
	return signer
}

// TestKeyRotation_UnderLoad has a provider change its key a hundred times, a minute
// apart, while callers use tokens of the last half hour. The worst provider signs with
// a key at once when it publishes it, and drops the others.
func TestKeyRotation_UnderLoad(t *testing.T) {
	t.Parallel()
	const rotations, callers = 100, 2
	provider := newRotating(t)
	signer := provider.rotate(t, true)
	var later atomic.Int64
	clock := func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	keys, err := identity.OpenKeyring(t.Context(), identity.KeyringConfig{Location: provider.URL, Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	verifier, err := identity.NewVerifier(identity.Config{Keys: keys, Issuer: identity.LocalIssuer, Audience: identity.LocalAudience, Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	f := start(t, func(c *gateway.Config) { c.Verifier = verifier })

	mint := func() string {
		token, err := signer.Mint(identity.Claims{Subject: "alice", Tenant: "acme", Roles: []identity.Role{identity.Writer}, TTL: 24 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	oldest := mint()
	var mu sync.Mutex // guards valid
	valid := []string{oldest}
	f.commit(t, bearer(t.Context(), oldest), set("a", "1"))

	var calls, refused atomic.Int64
	get := func(token string) {
		calls.Add(1)
		if _, err := f.config.Get(bearer(context.Background(), token), &stelev1.GetRequest{Key: "a"}); err != nil {
			refused.Add(1)
			t.Error(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for range callers {
		load.Go(func() {
			for ctx.Err() == nil {
				mu.Lock()
				token := valid[rand.IntN(len(valid))]
				mu.Unlock()
				get(token)
			}
		})
	}
	for i := range rotations {
		later.Add(int64(61 * time.Second))
		signer = provider.rotate(t, i%2 == 0)
		token := mint()
		mu.Lock()
		valid = append(valid[max(0, len(valid)-30):], token)
		mu.Unlock()
		get(token)
	}
	stop()
	load.Wait()
	t.Logf("%d rotations, %d valid calls, %d refused, %d fetches", rotations, calls.Load(), refused.Load(), provider.fetches.Load())
	if n := provider.fetches.Load(); n > rotations+1 {
		t.Errorf("%d fetches for %d rotations", n, rotations)
	}
	if _, err := f.config.Get(bearer(t.Context(), oldest), &stelev1.GetRequest{Key: "a"}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a token whose key has vanished more than an hour ago: %v", err)
	}
}
