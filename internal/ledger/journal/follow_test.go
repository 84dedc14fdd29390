package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stelehq/stele/internal/ledger"
)

func TestFollow_FromAnyPosition(t *testing.T) {
	j := openTest(t, startTest(t, t.TempDir()), Config{})
	const total = 12
	for i := range ledger.Sequence(total) {
		mustAppend(t, j, i, fmt.Sprint(i+1))
	}
	for after := range ledger.Sequence(total) {
		t.Run(fmt.Sprintf("after %d", after), func(t *testing.T) {
			for i, m := range follow(t, j, after, total-int(after)) {
				want := after + 1 + ledger.Sequence(i)
				if m.Sequence != want || string(m.Record) != fmt.Sprint(want) || m.Time.IsZero() {
					t.Fatalf("message %d is %+v, want %d", i, m, want)
				}
			}
		})
	}
}

func TestFollow_EndsWithTheHandlersError(t *testing.T) {
	j := openTest(t, startTest(t, t.TempDir()), Config{})
	mustAppend(t, j, 0, "one")
	enough := errors.New("enough")
	if err := j.Follow(t.Context(), Message{}, func(Message) error { return enough }); err != enough {
		t.Errorf("got %v, want handle's own error", err)
	}
}

// A newly elected leader may report that the stream ends before the last delivered
// message. That alone is not a gap, and nothing may be delivered a second time.
func TestFollow_WaitsForAShortStream(t *testing.T) {
	j := openTest(t, startTest(t, t.TempDir()), Config{})
	last := mustAppend(t, j, 0, "one")
	got := make(chan ledger.Sequence, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	beyond := last + 1
	done := make(chan error, 1)
	go func() {
		done <- j.Follow(ctx, Message{Sequence: beyond, Record: []byte("two")}, func(m Message) error { got <- m.Sequence; return context.Canceled })
	}()
	last = mustAppend(t, j, last, "two")
	mustAppend(t, j, last, "three")
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want what handle said", err)
	}
	if seq := <-got; seq != beyond+1 {
		t.Errorf("message %d came first, want %d", seq, beyond+1)
	}
}

func TestFollow_LostMessages(t *testing.T) {
	j := openTest(t, startTest(t, t.TempDir()), Config{})
	var last ledger.Sequence
	for range 5 {
		last = mustAppend(t, j, last, "x")
	}
	spoiled := j.stream.CachedInfo().Config
	spoiled.MaxMsgsPerSubject = 2
	if _, err := j.js.UpdateStream(t.Context(), spoiled); err != nil {
		t.Fatal(err)
	}
	err := j.Follow(t.Context(), Message{Sequence: 1, Record: []byte("x")}, func(Message) error { return nil })
	var gap *GapError
	if !errors.As(err, &gap) || gap.Want != 1 || gap.Got != 4 {
		t.Errorf("got %v, want a gap from 1 to 4", err)
	}
}

// More bytes than a follower lets the server send ahead, in the largest messages.
func TestFollow_LargeRecords(t *testing.T) {
	j := openTest(t, startTest(t, t.TempDir()), Config{})
	record := strings.Repeat("x", j.MaxRecord())
	var last ledger.Sequence
	for range 10 {
		last = mustAppend(t, j, last, record)
	}
	for _, m := range follow(t, j, 0, int(last)) {
		if len(m.Record) != len(record) {
			t.Fatalf("message %d has %d bytes, want %d", m.Sequence, len(m.Record), len(record))
		}
	}
}

func TestFollow_ServerRestarts(t *testing.T) {
	dir := t.TempDir()
	port := -1
	start := func() *Server {
		s, err := StartServer(ServerConfig{Dir: dir, listen: func(o *server.Options) {
			o.DontListen, o.Host, o.Port = false, "127.0.0.1", port
		}})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := start()
	nc, err := nats.Connect(s.server.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(retryFirst))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	lost, reconnected := nc.StatusChanged(nats.RECONNECTING), nc.StatusChanged(nats.CONNECTED)
	j, err := Open(t.Context(), nc, Config{Embedded: s})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()

	ctx, stop := context.WithCancel(t.Context())
	got := make(chan ledger.Sequence)
	ended := make(chan error, 1)
	go func() {
		ended <- j.Follow(ctx, Message{}, func(m Message) error {
			got <- m.Sequence
			return nil
		})
	}()
	var last ledger.Sequence
	for range 3 {
		for range 5 {
			last = mustAppend(t, j, last, "x")
			if seq := <-got; seq != last {
				t.Fatalf("followed %d, want %d", seq, last)
			}
		}
		port = s.server.Addr().(*net.TCPAddr).Port
		s.Close()
		<-lost // else the message waits in the client, and is written after all
		if _, err := j.Append(t.Context(), last, nil); !errors.Is(err, ledger.ErrUnavailable) {
			t.Errorf("without a server: got %v", err)
		}
		s = start()
		<-reconnected
	}
	s.Close()
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("follow ended with %v", err)
	}
}

// Messages on their way when a connection breaks count as delivered at the server. If
// they include the stream's last messages, no later message reveals the loss: followers
// used to wait without end.
func TestFollow_BrokenConnectionLosesNothing(t *testing.T) {
	const messages, size = 5, 1 << 20
	defer func(d time.Duration) { quiet = d }(quiet)
	quiet = time.Second // longer than the connection takes to break
	s, err := StartServer(ServerConfig{Dir: t.TempDir(), listen: func(o *server.Options) {
		o.DontListen, o.Host, o.Port = false, "127.0.0.1", -1
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	line := &breakable{}
	nc, err := nats.Connect(s.server.ClientURL(), nats.SetCustomDialer(line), nats.MaxReconnects(-1), nats.ReconnectWait(retryFirst))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	j, err := Open(t.Context(), nc, Config{Embedded: s})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	var last ledger.Sequence
	for range messages {
		last = mustAppend(t, j, last, strings.Repeat("x", size))
	}
	line.left.Store(2 * size)
	if got := follow(t, j, 0, messages); len(got) != messages {
		t.Errorf("%d messages", len(got))
	}
	if line.left.Load() > 0 {
		t.Error("the connection has not broken, so this proves nothing")
	}
}

// breakable dials connections, of which the first swallows what comes after so
// many bytes, once they are set, and then breaks.
type breakable struct {
	left   atomic.Int64
	broken atomic.Bool
}

func (b *breakable) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	return &breaking{c, b}, err
}

type breaking struct {
	net.Conn
	line *breakable
}

func (c *breaking) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if left := c.line.left.Load(); left > 0 && !c.line.broken.Load() && c.line.left.Add(-int64(n)) <= 0 {
		c.line.broken.Store(true)
		// Until the server has nothing more to send.
		c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		io.Copy(io.Discard, c.Conn)
		c.Close()
		return 0, io.EOF
	}
	return n, err
}

// follow returns the next n messages, and checks that no other comes with them.
func follow(t *testing.T, j *Journal, after ledger.Sequence, n int) []Message {
	t.Helper()
	enough := errors.New("enough")
	var got []Message
	if n == 0 {
		return nil
	}
	var seen Message
	if after > 0 {
		var err error
		if seen, err = j.Read(t.Context(), after); err != nil {
			t.Fatal(err)
		}
	}
	err := j.Follow(t.Context(), seen, func(m Message) error {
		if got = append(got, m); len(got) == n {
			return enough
		}
		return nil
	})
	if err != enough {
		t.Fatalf("follow: %v", err)
	}
	return got
}
