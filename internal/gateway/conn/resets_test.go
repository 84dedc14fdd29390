package conn

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/peer"
)

// burst is calls that begin in one moment, and what became of some of them when the
// next burst begins.
type burst struct{ opened, answered int }

func TestResets_SlowTheirConnectionOnly(t *testing.T) {
	repeat := func(n int, b burst) (all []burst) {
		for range n {
			all = append(all, b)
		}
		return all
	}
	for name, test := range map[string]struct {
		unauthenticated bool
		bursts          []burst // one each second
		slow            bool
	}{
		"every call is answered":                     {bursts: repeat(100, burst{20_000, 20_000})},
		"as many streams as a connection may have":   {bursts: append([]burst{{MaxStreams, 0}}, repeat(100, burst{500, 500})...)},
		"some calls are canceled":                    {bursts: repeat(100, burst{10_000, 9_920})},
		"many are canceled at once":                  {bursts: []burst{{1900, 0}}},
		"every call is reset":                        {bursts: []burst{{allowedUnanswered + 2*resetsPerSecond, 0}}, slow: true},
		"half of the calls are reset":                {bursts: repeat(20, burst{5000, 2500}), slow: true},
		"without a token, answered":                  {unauthenticated: true, bursts: repeat(10, burst{2000, 2000})},
		"without a token, reset":                     {unauthenticated: true, bursts: []burst{{2 * resetsPerSecond, 0}}, slow: true},
		"answers of one second do not pay for later": {bursts: append([]burst{{50_000, 50_000}}, burst{20_000, 0}), slow: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := New(Config{}, discard)
				c := &Conn{Conn: pipe{}, l: l}
				if !test.unauthenticated {
					c.Authenticated("acme")
				}
				ctx := peer.NewContext(context.Background(), &peer.Peer{AuthInfo: connInfo{conn: c}})
				for _, b := range test.bursts {
					for i := range b.opened {
						if _, err := l.tapHandle(ctx, nil); err != nil {
							t.Fatal(err)
						}
						if i < b.answered {
							FromContext(ctx).Answered()
						}
					}
					time.Sleep(time.Second)
				}
				if slow := c.calls.pause > 0; slow != test.slow {
					t.Errorf("the next read waits %s", c.calls.pause)
				}
				other := &Conn{l: l}
				other.Authenticated("acme")
				for range MaxStreams {
					l.tapHandle(peer.NewContext(context.Background(), &peer.Peer{AuthInfo: connInfo{conn: other}}), nil)
				}
				if other.calls.pause > 0 {
					t.Errorf("the next read of another connection waits %s", other.calls.pause)
				}
			})
		})
	}
}

func TestResets_ReadsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{}, discard)
		ours, theirs := net.Pipe()
		defer ours.Close()
		stop := make(chan struct{})
		c := &Conn{Conn: pipe{Conn: ours}, l: l, stop: stop}
		go theirs.Write(make([]byte, 3))
		read := func() time.Duration {
			start := time.Now()
			if _, err := (pacedConn{c, c}).Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			return time.Since(start)
		}
		c.calls.pause, c.calls.slow = time.Second, true
		if waited := read(); waited != time.Second {
			t.Errorf("the read waited %s", waited)
		}
		if waited := read(); waited != 0 {
			t.Errorf("the read after it waited %s", waited)
		}
		c.calls.pause, c.calls.slow = time.Hour, true
		close(stop)
		if waited := read(); waited != 0 {
			t.Errorf("the read of a server that stops waited %s", waited)
		}
	})
}

func TestResets_AreCounted(t *testing.T) {
	l := New(Config{}, discard)
	c := &Conn{Conn: pipe{}, l: l}
	ctx := peer.NewContext(context.Background(), &peer.Peer{AuthInfo: connInfo{conn: c}})
	for range 10_000 {
		l.tapHandle(ctx, nil)
	}
	if counted(l.metrics.slowReads) == 0 {
		t.Error("the metric counts no slow reads")
	}
}

// endless has as many bytes to read as are asked for.
type endless struct{ pipe }

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// The calls of a connection that resets all of them begin one after the other, and not hundreds
// together when a pause ends.
func TestResets_BurstsAreSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const callBytes, most = 32, slowRead / 32
		l := New(Config{}, discard)
		c := &Conn{Conn: endless{}, l: l}
		c.Authenticated("acme")
		ctx := peer.NewContext(context.Background(), &peer.Peer{AuthInfo: connInfo{conn: c}})
		buf := make([]byte, 32<<10)
		read := func() (calls int) {
			n, err := pacedConn{c, c}.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			for range n / callBytes {
				l.tapHandle(ctx, nil)
			}
			return n / callBytes
		}
		for !c.calls.slow {
			read()
		}
		l.resets.ReserveN(time.Now(), resetsPerSecond) // the calls without a delay have begun
		read()
		begun, calls := time.Now(), 0
		for time.Since(begun) < 10*time.Second {
			before := time.Now()
			n := read()
			if calls += n; n > most {
				t.Fatalf("%d calls begin together, want at most %d", n, most)
			}
			if time.Since(before) == 0 {
				t.Fatalf("%d calls begin without a pause", n)
			}
		}
		if perSecond := calls / 10; perSecond > resetsPerSecond+2*forgivenPerSecond {
			t.Errorf("%d calls per second", perSecond)
		}

		// A client that has stopped resetting calls is read as before.
		time.Sleep(allowedUnanswered / forgivenPerSecond * time.Second)
		read()
		if n := read(); n != len(buf)/callBytes {
			t.Errorf("%d calls are read at a time after a quiet time, want %d", n, len(buf)/callBytes)
		}
	})
}

// Calls without a token that are refused, because the connection has too many, slow it as if they
// had been reset.
func TestResets_RefusedPublicCallsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Conn{Conn: pipe{}, l: New(Config{}, discard)}
		ctx := peer.NewContext(context.Background(), &peer.Peer{AuthInfo: connInfo{conn: c}})
		refused := 0
		for range 3 * resetsPerSecond {
			c.l.tapHandle(ctx, nil)
			if _, err := c.Public(); err != nil {
				refused++
			}
			c.Answered()
		}
		if refused != 3*resetsPerSecond-maxPublicCalls || c.calls.pause == 0 {
			t.Errorf("%d calls were refused, and the next read waits %s", refused, c.calls.pause)
		}
	})
}
