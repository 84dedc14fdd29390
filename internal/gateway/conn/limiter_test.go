package conn

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/credentials/insecure"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pipe is a connection from an address, in memory.
type pipe struct {
	net.Conn
	from net.TCPAddr
}

func (p pipe) RemoteAddr() net.Addr { return &p.from }

// connect makes a connection from the address, and returns it when the Limiter lets it
// carry calls. The test ends it.
func connect(t *testing.T, l *Limiter, from string, stop <-chan struct{}) (*Conn, error) {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { theirs.Close() })
	c := &Conn{Conn: pipe{ours, net.TCPAddr{IP: net.ParseIP(from), Port: 1234}}, l: l, stop: stop}
	if !l.opened() {
		t.Fatal("too many connections")
	}
	if _, _, err := (limitedCredentials{insecure.NewCredentials(), l}).ServerHandshake(c); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// step is some connections, one after the other.
type step struct {
	from string
	n    int
	// authenticated connections make a call with a token, others end without one.
	authenticated bool
	// waits is how long all of them wait together.
	waits time.Duration
}

func TestPacing(t *testing.T) {
	const perConnection = time.Second / budgetPerSecond
	for name, test := range map[string]struct {
		cfg   Config
		steps []step
	}{
		"connections without calls wait when the budget is spent": {steps: []step{
			{"10.0.0.1", budgetSize, false, 0},
			{"10.0.0.1", 100, false, 100 * perConnection},
		}},
		"another address does not wait": {steps: []step{
			{"10.0.0.1", budgetSize + 1, false, perConnection},
			{"10.0.0.2", budgetSize, false, 0},
		}},
		"connections with calls never wait": {steps: []step{
			{"10.0.0.1", 20 * budgetSize, true, 0},
			{"10.0.0.1", budgetSize, false, 0},
		}},
		"connections with calls wait for those without": {steps: []step{
			{"10.0.0.1", budgetSize, false, 0},
			{"10.0.0.1", 1, true, perConnection},
			{"10.0.0.1", 1000, true, 0}, // with what the one before has returned
		}},
		"a network of IPv6 is one address": {steps: []step{
			{"2001:db8:0:1::1", budgetSize, false, 0},
			{"2001:db8:0:1:ffff::2", 1, false, perConnection},
			{"2001:db8:0:2::1", 1, false, 0},
		}},
		"IPv4 in IPv6 is IPv4": {steps: []step{
			{"::ffff:10.0.0.1", budgetSize, false, 0},
			{"10.0.0.1", 1, false, perConnection},
		}},
		"exempt ranges never wait": {
			cfg: Config{Exempt: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}},
			steps: []step{
				{"10.1.2.3", 3 * budgetSize, false, 0},
				{"10.2.0.0", budgetSize + 1, false, perConnection},
			},
		},
		"off": {
			cfg:   Config{Unpaced: true},
			steps: []step{{"10.0.0.1", 3 * budgetSize, false, 0}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := New(test.cfg, discard)
				for i, s := range test.steps {
					start := time.Now()
					for range s.n {
						c, err := connect(t, l, s.from, nil)
						if err != nil {
							t.Fatal(err)
						}
						if s.authenticated {
							c.Authenticated("acme")
							c.Authenticated("acme") // every call reports it
						}
						c.Close()
						c.Close()
					}
					if waited := time.Since(start); waited < s.waits-time.Millisecond || waited > s.waits+perConnection {
						t.Errorf("step %d: waited %s, want %s", i, waited, s.waits)
					}
				}
				if l.open != 0 || l.waiting != 0 {
					t.Errorf("%d open and %d waiting connections at the end", l.open, l.waiting)
				}
				for _, a := range l.addresses {
					if a.unauthenticated != 0 {
						t.Errorf("%d unauthenticated connections at the end", a.unauthenticated)
					}
				}
			})
		})
	}
}

// Connections that stay open without a call have their budget back in time, as those
// that end.
func TestPacing_RefusesAfterTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{}, discard)
		const n = 3 * budgetSize
		results := make(chan error, n)
		for range n {
			go func() {
				c, err := connect(t, l, "10.0.0.1", nil)
				if err == nil {
					defer c.Close()
				}
				results <- err
			}()
		}
		refused := 0
		for range n {
			if err := <-results; errors.Is(err, errNoTurn) {
				refused++
			} else if err != nil {
				t.Fatal(err)
			}
		}
		want := n - budgetSize - int(budgetPerSecond*turnTimeout/time.Second)
		if refused < want-1 || refused > want+1 {
			t.Errorf("%d of %d connections were refused, want %d", refused, n, want)
		}
		if got := counted(l.metrics.refused.WithLabelValues(string(reasonNoTurn))); int(got) != refused {
			t.Errorf("the metric counts %v", got)
		}
		if got := counted(l.metrics.delayed); got != n-budgetSize {
			t.Errorf("the metric counts %v delayed connections, want %d", got, n-budgetSize)
		}
	})
}

func TestPacing_AddressCannotTakeAllConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{}, discard)
		most := l.maxUnauthenticated()
		stop := make(chan struct{})
		done := make(chan error, most)
		for range most {
			go func() {
				_, err := connect(t, l, "10.0.0.1", stop)
				done <- err
			}()
		}
		synctest.Wait()
		if _, err := connect(t, l, "10.0.0.1", stop); !errors.Is(err, errAddressFull) {
			t.Errorf("one more connection of the address: %v", err)
		}
		if c, err := connect(t, l, "10.0.0.2", stop); err != nil {
			t.Errorf("a connection of another address: %v", err)
		} else {
			c.Close()
		}
		// The server stops: no connection waits any longer.
		start := time.Now()
		close(stop)
		stopped := 0
		for range most {
			if errors.Is(<-done, net.ErrClosed) {
				stopped++
			}
		}
		if stopped != most-budgetSize || time.Since(start) != 0 {
			t.Errorf("%d waits ended when the server stopped, after %s", stopped, time.Since(start))
		}
	})
}

func TestPacing_TableOfAddressesIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{}, discard)
		from := func(i int) string {
			return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String()
		}
		connectAll := func(n int) {
			for i := range n {
				a, err := l.admit(&net.TCPAddr{IP: net.ParseIP(from(i))}, nil)
				if err != nil {
					t.Fatal(err)
				}
				l.leave(a)
			}
		}
		connectAll(3 * maxAddresses)
		if n := len(l.addresses); n > maxAddresses+1 {
			t.Errorf("the table has %d addresses", n)
		}
		time.Sleep(time.Minute) // every budget is full again
		connectAll(2)
		l.mu.Lock()
		l.address(netip.MustParseAddr("192.0.2.1"))
		l.mu.Unlock()
		if n := len(l.addresses); n > 3 {
			t.Errorf("the table still has %d addresses", n)
		}
	})
}

func TestListener_RefusesOverMaxConnections(t *testing.T) {
	l := New(Config{}, discard)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := l.Listener(inner)
	defer ln.Close()
	l.open = MaxConnections - 1
	var clients []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		clients = append(clients, c)
	}
	accepted := make(chan net.Conn)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- c
		}
	}()
	first := <-accepted
	for _, c := range clients[1:] {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a connection over the limit was not closed")
		}
	}
	if got := counted(l.metrics.refused.WithLabelValues(string(reasonMaxConnections))); got != 2 {
		t.Errorf("the metric counts %v refused connections, want 2", got)
	}
	first.Close()
	if l.open != MaxConnections-1 {
		t.Errorf("%d connections are open", l.open)
	}
	ln.Close()
	<-accepted
}

func TestWarnings_OnePerInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines lines
		m := newMetrics(lines.logger())
		from := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 5}
		for range 1000 {
			m.refuse(reasonNoTurn, from, errNoTurn)
			m.delay(from)
			time.Sleep(logInterval / 500)
		}
		want := []string{"similar=0", "similar=0", "similar=499", "similar=499"}
		slices.Sort(want)
		if got := lines.similar(); !slices.Equal(got, want) {
			t.Errorf("logged %q, want %q", got, want)
		}
	})
}

// The callers of one tenant leave connections to others, and get theirs back.
func TestAuthenticated_OwnersLeaveConnections(t *testing.T) {
	l := New(Config{Unpaced: true}, discard)
	open := func() *Conn {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { theirs.Close() })
		if !l.opened() {
			t.Fatal("no connection is left")
		}
		return &Conn{Conn: ours, l: l}
	}
	var first *Conn
	for i := range MaxOwned {
		c := open()
		if !c.Authenticated("acme") || !c.Authenticated("globex") { // it stays acme's
			t.Fatalf("connection %d was refused", i)
		}
		first = cmp.Or(first, c)
	}
	more, other := open(), open()
	if more.Authenticated("acme") || !other.Authenticated("globex") {
		t.Error("one tenant has more than its share, or another has none")
	}
	first.Close()
	first.Close()
	if !more.Authenticated("acme") || l.owned["acme"] != MaxOwned {
		t.Errorf("after one was closed: %d", l.owned["acme"])
	}
	other.Close()
	if _, kept := l.owned["globex"]; kept || other.Authenticated("globex") && l.owned["globex"] > 0 {
		t.Error("a closed connection counts")
	}
}

func TestConn_StalledWhileARequestIsNotReceived(t *testing.T) {
	c := new(Conn)
	now := time.Now()
	if err := c.stalled(now.Add(time.Hour)); err != nil {
		t.Errorf("an idle connection: %v", err)
	}
	first, second := c.Receive(), c.Receive()
	if err := c.stalled(now.Add(stalledAfter / 2)); err != nil {
		t.Errorf("after half of the time: %v", err)
	}
	first()
	if c.stalled(now.Add(2*stalledAfter)) == nil {
		t.Error("one request was received, and another was not")
	}
	second()
	if err := c.stalled(now.Add(2 * stalledAfter)); err != nil {
		t.Errorf("both were received: %v", err)
	}
}
