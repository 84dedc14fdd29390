package journal

import (
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
)

// exhausted is a listener that fails a few times before it accepts a connection.
type exhausted struct {
	net.Listener
	failures int
	accepted chan net.Conn
}

func (l *exhausted) Accept() (net.Conn, error) {
	if l.failures > 0 {
		l.failures--
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	c, ok := <-l.accepted
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

// A process that has no files left for a moment accepts connections after it.
func TestSocket_AcceptsAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		l := &exhausted{failures: 3, accepted: make(chan net.Conn, 1)}
		s := &socket{listener: l, log: slog.New(slog.NewTextHandler(&log, nil)), conns: make(map[net.Conn]bool)}
		inside, server := net.Pipe()
		client, outside := net.Pipe()
		s.running.Go(func() { s.accept(func() (net.Conn, error) { return inside, nil }) })
		l.accepted <- outside
		go client.Write([]byte("hello"))
		b := make([]byte, 5)
		if n, err := server.Read(b); err != nil || string(b[:n]) != "hello" {
			t.Errorf("the server got %q, %v", b[:n], err)
		}
		close(l.accepted)
		client.Close()
		server.Close()
		s.running.Wait()
		if n := strings.Count(log.String(), "too many open files"); n != 3 {
			t.Errorf("it has logged %d failures: %s", n, &log)
		}
	})
}
