package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal/internal/host"
)

const (
	// maxStore replaces JetStream's own limit, in bytes, which it derives from the space that
	// happens to be free when it starts. Server.space looks at the disk before each write.
	maxStore = 1 << 60
	// maxPayload is the longest message that the embedded server takes, in bytes.
	maxPayload = 8 << 20
	// maxPending is how much may wait to be sent to a connection before the server
	// drops it: twice what replica, tree and readers of other streams let it send
	// ahead.
	maxPending = 2 * 4 * maxPayload
)

// slowStart is how long the server may take to open its streams until that is logged, and the
// time between two messages. A large journal on a slow disk takes minutes after a crash.
const slowStart = 5 * time.Second

// reconnectWait is the time between two tries to connect while the server is replaced.
const reconnectWait = 100 * time.Millisecond

// ServerConfig defines how to run the embedded server.
type ServerConfig struct {
	// Dir holds the streams; it is created when missing. One process at a time
	// may use it.
	Dir string
	// Log gets the server's messages; nil means slog.Default.
	Log *slog.Logger
	// Epoch returns the ledger's identity as other files know it, zero if none does. It is
	// called to rebuild damaged metadata of streams, if no other stream knows it. With nil,
	// damaged metadata is left as it is.
	Epoch func() (ledger.Epoch, error)

	// listen lets tests reach the server over TCP, as a cluster's member too.
	listen func(*server.Options)
	// lowSpace and slowStart replace the constants in tests, and starting is called before the
	// streams are opened.
	lowSpace  uint64
	slowStart time.Duration
	starting  func()
}

// Server is an embedded nats-server: JetStream in a folder, every write synced before
// it is acknowledged. Its only listener is a socket in the folder.
//
// After a failed write JetStream takes no more writes, also when the disk has space again.
// So the nats-server is then replaced by a new one on the same folder, and connections
// reconnect to that.
type Server struct {
	cfg    ServerConfig
	lock   *os.File
	socket *socket // nil where the system would not have it

	mu     sync.Mutex // guards server
	server *server.Server

	// failed holds one token after a write has failed.
	failed chan struct{}
	// ctx ends when the server is closed; running is the goroutine that Close waits for.
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// StartServer runs a server on the folder, or returns an error that names the process
// which uses it.
func StartServer(cfg ServerConfig) (*Server, error) {
	if cfg.lowSpace == 0 {
		cfg.lowSpace = lowSpace
	}
	if cfg.slowStart == 0 {
		cfg.slowStart = slowStart
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, lock: lock, failed: make(chan struct{}, 1)}
	if cfg.Epoch != nil {
		err = s.repairMeta()
	}
	if err == nil {
		s.server, err = s.start()
	}
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("start nats-server on %s: %w", cfg.Dir, err)
	}
	if s.socket, err = listenSocket(cfg.Dir, logOf(cfg), s.InProcessConn); err != nil { // a path may be too long for one
		logOf(cfg).Warn("no socket in the journal's folder: stele backup cannot reach it", "error", err)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.running.Go(s.restartAfterFailures)
	return s, nil
}

func logOf(cfg ServerConfig) *slog.Logger {
	if cfg.Log == nil {
		return slog.Default()
	}
	return cfg.Log
}

func (s *Server) start() (*server.Server, error) {
	opts := &server.Options{
		DontListen:             true,
		JetStream:              true,
		StoreDir:               s.cfg.Dir,
		SyncAlways:             true,
		JetStreamMaxStore:      maxStore,
		MaxPayload:             maxPayload,
		MaxPending:             maxPending,
		NoSigs:                 true,
		DisableJetStreamBanner: true,
	}
	if s.cfg.listen != nil {
		s.cfg.listen(opts)
	}
	started, err := server.NewServer(opts)
	if err != nil {
		return nil, err
	}
	l := &serverLog{log: logOf(s.cfg).With("component", "nats-server"), failed: s.failed}
	started.SetLoggerV2(l, false, false, false)
	if err := s.awaitStart(started, l); err != nil {
		started.Shutdown()
		started.WaitForShutdown()
		return nil, err
	}
	return started, nil
}

// awaitStart waits until the server has opened its streams and accepts connections, however
// long that takes.
func (s *Server) awaitStart(started *server.Server, l *serverLog) error {
	ready := make(chan struct{})
	go func() {
		defer close(ready)
		if s.cfg.starting != nil {
			s.cfg.starting()
		}
		started.Start()
		for l.fatal() == nil && !started.ReadyForConnections(time.Second) {
		}
	}()
	begun := time.Now()
	tick := time.NewTicker(s.cfg.slowStart)
	defer tick.Stop()
	for {
		select {
		case <-ready:
			return l.fatal()
		case <-tick.C:
			logOf(s.cfg).Warn("waiting for the embedded nats-server to open the streams of the journal; the disk may be slow",
				"folder", s.cfg.Dir, "for", time.Since(begun).Round(time.Second))
		}
	}
}

// Connect opens a connection inside the process.
func (s *Server) Connect() (*nats.Conn, error) {
	return nats.Connect("", nats.InProcessServer(s), nats.Name("stele"), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait))
}

// InProcessConn opens a connection to the nats-server that runs now.
func (s *Server) InProcessConn() (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.server.InProcessConn()
}

// Close stops the server and waits until its files are closed.
func (s *Server) Close() {
	s.cancel()
	s.running.Wait()
	if s.socket != nil {
		s.socket.close()
	}
	s.server.Shutdown()
	s.server.WaitForShutdown()
	s.lock.Close()
}

// lockDir creates the folder and takes its lock, which the system releases when the
// process ends, however it ends.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "stele.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := host.TryLock(f, false); err != nil {
		defer f.Close()
		if !errors.Is(err, host.ErrLocked) {
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		pid, _ := os.ReadFile(f.Name())
		return nil, fmt.Errorf("%s is in use by another stele (pid %s)", dir, strings.TrimSpace(string(pid)))
	}
	if f.Truncate(0) == nil { // only the lock counts: the number is for operators
		fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	return f, nil
}

// writeFailed are the beginnings of the messages by which the nats-server reports that it
// takes no more writes to a stream, or to all streams. It answers such writes with silence.
var writeFailed = []string{"JetStream failed to store a msg", "JetStream out of"}

// serverLog hands the server's messages to slog; its notices are our details. A
// fatal one would end a nats-server of its own: here it fails the start.
type serverLog struct {
	log    *slog.Logger
	failed chan<- struct{} // gets a token when a write has failed

	mu    sync.Mutex // guards first
	first error      // the first fatal message
}

func (l *serverLog) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}

func (l *serverLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == nil {
		l.first = fmt.Errorf(format, v...)
	}
	l.log.Error(fmt.Sprintf(format, v...))
}

func (l *serverLog) Errorf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.log.Error(text)
	if slices.ContainsFunc(writeFailed, func(begin string) bool { return strings.HasPrefix(text, begin) }) {
		select {
		case l.failed <- struct{}{}:
		default:
		}
	}
}

func (l *serverLog) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l *serverLog) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *serverLog) Debugf(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *serverLog) Tracef(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
