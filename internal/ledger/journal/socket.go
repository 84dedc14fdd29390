package journal

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// socketName is the name of the socket in the server's folder.
const socketName = "stele.sock"

// acceptPause is the time between two tries to accept a connection.
const acceptPause = 100 * time.Millisecond

// socket lets other programs on this machine connect to the embedded server. It has the
// same permissions as the server's files.
type socket struct {
	listener net.Listener
	log      *slog.Logger
	running  sync.WaitGroup

	mu     sync.Mutex // guards what follows
	closed bool
	conns  map[net.Conn]bool
}

// listenSocket serves connections, each a client of the server, until it is closed.
func listenSocket(dir string, log *slog.Logger, dial func() (net.Conn, error)) (*socket, error) {
	path := filepath.Join(dir, socketName)
	// This process holds the folder's lock: an existing socket is left over from a
	// killed process.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	s := &socket{listener: l, log: log, conns: make(map[net.Conn]bool)}
	s.running.Go(func() { s.accept(dial) })
	return s, nil
}

func (s *socket) accept(dial func() (net.Conn, error)) {
	for {
		outside, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // no more files can be opened, which passes
			s.log.Warn("accept a connection to the journal's socket", "error", err)
			time.Sleep(acceptPause)
			continue
		}
		inside, err := dial()
		if err != nil {
			s.log.Warn("connect the journal's socket to the embedded server", "error", err)
			outside.Close()
			continue
		}
		if !s.keep(outside, inside) {
			return
		}
		// Either end that closes closes both.
		for _, way := range [][2]net.Conn{{outside, inside}, {inside, outside}} {
			s.running.Go(func() {
				io.Copy(way[0], way[1])
				s.drop(outside, inside)
			})
		}
	}
}

func (s *socket) keep(conns ...net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range conns {
		if s.closed {
			c.Close()
		} else {
			s.conns[c] = true
		}
	}
	return !s.closed
}

func (s *socket) drop(conns ...net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range conns {
		c.Close()
		delete(s.conns, c)
	}
}

func (s *socket) close() {
	s.listener.Close()
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
}

// ConnectSocket connects to the embedded server of another process, whose
// ServerConfig.Dir it is.
func ConnectSocket(dir string) (*nats.Conn, error) {
	nc, err := nats.Connect("nats://127.0.0.1", nats.SetCustomDialer(socketDialer(filepath.Join(dir, socketName))), nats.Name("stele"))
	if err != nil {
		return nil, fmt.Errorf("connect to the journal in %s: %w", dir, err)
	}
	return nc, nil
}

// socketDialer is a socket's path.
type socketDialer string

// Dial connects to the socket, whatever address it gets.
func (d socketDialer) Dial(string, string) (net.Conn, error) { return net.Dial("unix", string(d)) }
