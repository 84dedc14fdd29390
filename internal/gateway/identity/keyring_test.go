package identity

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// provider publishes keys over connections that need no network, so that its
// time may be a bubble's.
type provider struct {
	conns  chan net.Conn
	serve  atomic.Pointer[http.HandlerFunc]
	served atomic.Int64
	server http.Server
}

func newProvider(t *testing.T, jwks string) *provider {
	p := &provider{conns: make(chan net.Conn)}
	p.publish(jwks)
	var running sync.WaitGroup
	p.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		running.Add(1)
		defer running.Done()
		p.served.Add(1)
		(*p.serve.Load())(w, r)
	})
	running.Go(func() { p.server.Serve(p) })
	t.Cleanup(func() {
		p.server.Close()
		running.Wait()
	})
	return p
}

func (p *provider) behave(f http.HandlerFunc) { p.serve.Store(&f) }

func (p *provider) publish(jwks string) {
	p.behave(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(jwks)) })
}

// The provider is its server's listener.
func (p *provider) Accept() (net.Conn, error) {
	conn, open := <-p.conns
	if !open {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (p *provider) Close() error   { close(p.conns); return nil }
func (p *provider) Addr() net.Addr { return &net.UnixAddr{} }

// open is a keyring that follows the provider.
func (p *provider) open(t *testing.T) *Keyring {
	t.Helper()
	e, err := newEndpoint(KeyringConfig{Location: "http://localhost/keys"})
	if err != nil {
		t.Fatal(err)
	}
	e.client.Transport.(*http.Transport).DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		here, there := net.Pipe()
		select {
		case p.conns <- there:
			return here, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	r, err := source{e.load, endpointPace, false}.open(t.Context(), KeyringConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// following is a verifier of now's tokens with the keyring's keys.
func following(t *testing.T, keys Keys) *Verifier {
	t.Helper()
	v, err := NewVerifier(Config{Keys: keys, Issuer: testIssuer, Audience: testAudience})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// longLived is a token of the key that outlives every test.
func longLived(t *testing.T, k testKey) string {
	t.Helper()
	return k.sign(t, nil, payload(t, good(map[string]any{"exp": testNow.AddDate(100, 0, 0).Unix()})))
}

func TestKeyring_UnknownKidsFetchOncePerMinute(t *testing.T) {
	is := newIssuer(t)
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(t, set(is.ed.jwk(t)))
		v := following(t, p.open(t))
		const minutes, each, atOnce = 20, 20, 25
		begun, tried := time.Now(), 0
		var accepted atomic.Int64
		for range minutes * each {
			time.Sleep(time.Minute / each)
			var callers sync.WaitGroup
			for range atOnce {
				forged := is.ed.sign(t, map[string]any{"kid": fmt.Sprint("unknown-", tried)}, "{}")
				tried++
				callers.Go(func() {
					if _, err := v.Verify(forged); err == nil {
						accepted.Add(1)
					}
				})
			}
			callers.Wait()
		}
		fetches, span := p.served.Load(), time.Since(begun)
		t.Logf("%d unknown kids in %s: %d fetches, %d accepted", tried, span, fetches, accepted.Load())
		if tried < 10_000 || accepted.Load() > 0 || fetches > int64(span/time.Minute)+1 {
			t.Errorf("%d unknown kids, %d accepted, %d fetches in %s", tried, accepted.Load(), fetches, span)
		}
		if fetches < minutes/2 {
			t.Errorf("only %d fetches in %s: a new key would not be found", fetches, span)
		}
	})
}

func TestKeyring_NewKeyIsFetched(t *testing.T) {
	is, next := newIssuer(t), newIssuer(t)
	next.ed.kid = "next"
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(t, set(is.ed.jwk(t)))
		v := following(t, p.open(t))
		time.Sleep(time.Minute)
		p.publish(set(is.ed.jwk(t), next.ed.jwk(t)))
		for _, k := range []testKey{next.ed, is.ed} {
			if _, err := v.Verify(longLived(t, k)); err != nil {
				t.Errorf("a token of %s: %v", k.kid, err)
			}
		}
	})
}

func TestKeyring_FailingEndpointKeepsKeysForAnHour(t *testing.T) {
	is := newIssuer(t)
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(t, set(is.ed.jwk(t)))
		v := following(t, p.open(t))
		token := longLived(t, is.ed)
		p.behave(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) })
		for range 59 {
			if _, err := v.Verify(token); err != nil {
				t.Fatalf("while the endpoint fails: %v", err)
			}
			time.Sleep(time.Minute)
		}
		time.Sleep(time.Minute)
		// It was verified before, and is remembered: that must not make it last.
		if _, err := v.Verify(token); !errors.Is(err, ErrUnauthenticated) || !strings.Contains(err.Error(), "more than 1h0m0s ago") {
			t.Errorf("an hour after the key was last seen: %v", err)
		}
		p.publish(set(is.ed.jwk(t)))
		time.Sleep(2 * time.Minute)
		if _, err := v.Verify(token); err != nil {
			t.Errorf("after the endpoint has recovered: %v", err)
		}
	})
}

func TestKeyring_RemovedKeyWorksForAnHour(t *testing.T) {
	is, next := newIssuer(t), newIssuer(t)
	next.ed.kid = "next"
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(t, set(is.ed.jwk(t)))
		v := following(t, p.open(t))
		known, late := longLived(t, is.ed), is.ed.sign(t, nil, payload(t, good(nil)))
		if _, err := v.Verify(known); err != nil {
			t.Fatal(err)
		}
		p.publish(set(next.ed.jwk(t)))
		for range 54 { // it was seen for up to 5 minutes more
			time.Sleep(time.Minute)
			for _, token := range []string{known, longLived(t, next.ed)} {
				if _, err := v.Verify(token); err != nil {
					t.Fatal(err)
				}
			}
		}
		time.Sleep(12 * time.Minute)
		for what, token := range map[string]string{"remembered": known, "new": late} {
			if _, err := v.Verify(token); !errors.Is(err, ErrUnauthenticated) {
				t.Errorf("a token of a key that is long gone, %s: %v", what, err)
			}
		}
		// Published again, it is a key like any other.
		p.publish(set(next.ed.jwk(t), is.ed.jwk(t)))
		time.Sleep(6 * time.Minute)
		if _, err := v.Verify(known); err != nil {
			t.Errorf("a key that is in the set again: %v", err)
		}
	})
}

func TestKeyring_SameNameReplaces(t *testing.T) {
	is, next := newIssuer(t), newIssuer(t)
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(t, set(is.ed.jwk(t)))
		v := following(t, p.open(t))
		p.publish(set(next.ed.jwk(t)))
		time.Sleep(6 * time.Minute)
		if _, err := v.Verify(longLived(t, next.ed)); err != nil {
			t.Error(err)
		}
		if _, err := v.Verify(longLived(t, is.ed)); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("the key whose name was taken: %v", err)
		}
	})
}

func TestKeyring_FileIsReloaded(t *testing.T) {
	is, next := newIssuer(t), newIssuer(t)
	next.ed.kid = "next"
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "jwks.json")
		write := func(text string) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write(set(is.ed.jwk(t)))
		r, err := OpenKeyring(t.Context(), KeyringConfig{Location: path})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		v := following(t, r)
		check := func(when string, k testKey, good bool) {
			t.Helper()
			if _, err := v.Verify(longLived(t, k)); (err == nil) != good {
				t.Errorf("%s, a token of %s: %v", when, k.kid, err)
			}
		}
		check("at first", is.ed, true)
		write(set(is.ed.jwk(t), next.ed.jwk(t)))
		time.Sleep(time.Second)
		check("a second after it was added", next.ed, true)
		write(`{"keys":[`)
		time.Sleep(30 * time.Minute)
		check("while the file is cut off", is.ed, true)
		write(set(next.ed.jwk(t)))
		time.Sleep(6 * time.Second)
		check("after it was taken out", is.ed, false)
		check("after the other was taken out", next.ed, true)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		check("an hour without the file", next.ed, false)
	})
}

// TestKeyring_HostileEndpoint simulates a hostile provider: the existing keys
// keep working, and no answer takes longer than one may.
func TestKeyring_HostileEndpoint(t *testing.T) {
	is, evil := newIssuer(t), newIssuer(t)
	evil.ed.kid = "evil"
	evils := set(evil.ed.jwk(t))
	redirect := func(to string, code int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, code) }
	}
	endless := func(w http.ResponseWriter, chunk string, pause time.Duration) {
		for {
			if _, err := w.Write([]byte(chunk)); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			time.Sleep(pause)
		}
	}
	ways := []struct {
		name   string
		behave http.HandlerFunc
	}{
		{"no answer", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		{"no end of a slow answer", func(w http.ResponseWriter, _ *http.Request) { endless(w, " ", time.Second) }},
		{"no end of a fast answer", func(w http.ResponseWriter, _ *http.Request) { endless(w, strings.Repeat(" ", 1<<16), 0) }},
		{"a good set after a megabyte", func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte(strings.Repeat(" ", maxJWKS) + evils))
		}},
		{"a megabyte of headers", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 1<<20))
			w.Write([]byte(evils))
		}},
		{"a redirect to another host", redirect("https://evil.example/keys", http.StatusFound)},
		{"a redirect to http", redirect("http://localhost/others", http.StatusTemporaryRedirect)},
		{"a redirect to itself", redirect("/keys", http.StatusPermanentRedirect)},
		{"an error with keys in it", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			w.Write([]byte(evils))
		}},
		{"no JSON", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) }},
		{"no keys", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`{"keys":[]}`)) }},
		{"a symmetric key only", func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte(`{"keys":[{"kty":"oct","k":"c2VjcmV0","kid":"evil","alg":"HS256"}]}`))
		}},
		{"JSON nested deep", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(strings.Repeat("[", 1<<19))) }},
		{"a cut connection", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
	}
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProvider(t, set(is.ed.jwk(t)))
				v := following(t, p.open(t))
				p.behave(way.behave)
				time.Sleep(time.Minute)
				begun := time.Now()
				if _, err := v.Verify(longLived(t, evil.ed)); !errors.Is(err, ErrUnauthenticated) {
					t.Errorf("a token of a key that should not be there: %v", err)
				}
				if took := time.Since(begun); took > fetchTimeout {
					t.Errorf("a caller has waited %s", took)
				}
				if p.served.Load() != 2 {
					t.Errorf("%d requests, want 2", p.served.Load())
				}
				time.Sleep(45 * time.Minute)
				if _, err := v.Verify(longLived(t, is.ed)); err != nil {
					t.Errorf("a good token meanwhile: %v", err)
				}
			})
		})
	}
	t.Logf("%d ways of an endpoint to be hostile, 0 keys lost or taken over", len(ways))
}
