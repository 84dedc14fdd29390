package identity

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

func TestCache_ExpiredTokenIsRejected(t *testing.T) {
	is := newIssuer(t)
	now := testNow
	is.config.Now = func() time.Time { return now }
	v := is.verifier(t)
	token := is.signed(t, good(nil))
	first, err := v.Verify(token)
	if err != nil {
		t.Fatal(err)
	}
	now = first.Expires.Add(-time.Nanosecond)
	second, err := v.Verify(token)
	if err != nil {
		t.Fatal(err)
	}
	if first != second {
		t.Error("the second answer is not from the cache")
	}
	now = first.Expires
	if _, err := v.Verify(token); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("an expired token in the cache: %v", err)
	}
}

func TestCache_EachTokenHasItsPrincipal(t *testing.T) {
	is := newIssuer(t)
	v := is.verifier(t)
	tokens := make(map[string]string)
	for i := range 50 {
		subject := fmt.Sprintf("user-%d", i)
		tokens[subject] = is.signed(t, good(map[string]any{"sub": subject}))
	}
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for range 20 {
				for subject, token := range tokens {
					p, err := v.Verify(token)
					if err != nil || p.Subject != subject {
						t.Errorf("the token of %s: %v, %v", subject, p, err)
						return
					}
				}
			}
		})
	}
	callers.Wait()
}

func TestCache_FullAcceptsNewTokens(t *testing.T) {
	var c cache
	// All of these fall into one set, the first.
	token := func(i int) *digest { return &digest{31: byte(i)} }
	until := func(d time.Duration) Principal { return Principal{Expires: testNow.Add(d)} }
	for i := range ways + 1 {
		c.put(token(i), until(time.Hour), nil, testNow)
	}
	held := 0
	for i := range ways + 1 {
		if c.get(token(i)) != nil {
			held++
		}
	}
	if held != ways || c.get(token(ways)) == nil {
		t.Errorf("a full set holds %d of %d tokens, the newest: %v", held, ways, c.get(token(ways)) != nil)
	}
	// An expired one goes first.
	var d cache
	for i := range ways {
		ttl := time.Hour
		if i == 2 {
			ttl = -time.Second
		}
		d.put(token(i), until(ttl), nil, testNow.Add(-time.Minute))
	}
	d.put(token(ways), until(time.Hour), nil, testNow)
	for i := range ways + 1 {
		if got, want := d.get(token(i)) != nil, i != 2; got != want {
			t.Errorf("token %d is held: %v, want %v", i, got, want)
		}
	}
}

func TestCache_RepeatedTokenAllocatesNothing(t *testing.T) {
	is := newIssuer(t)
	v := is.verifier(t)
	token := is.signed(t, good(nil))
	if n := testing.AllocsPerRun(100, func() {
		if _, err := v.Verify(token); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("a cached token costs %v allocations", n)
	}
}

func BenchmarkVerify(b *testing.B) {
	is := newIssuer(b)
	is.config.Now = nil
	v := is.verifier(b)
	token := is.signed(b, good(map[string]any{"email": "alice@example.org", "client": "console, version 1.2.3, for a token of 400 bytes"}))
	b.Run("cached", func(b *testing.B) {
		b.ReportMetric(float64(len(token)), "token-bytes")
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := v.Verify(token); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := v.check(token); err != nil {
				b.Fatal(err)
			}
		}
	})
}
