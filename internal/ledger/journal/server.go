package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	// maxPayload is the longest message that the embedded server takes, in bytes.
	maxPayload = 8 << 20
	// maxPending is how much may wait to be sent to a connection before the server
	// drops it: twice what replica, tree and readers of other streams let it send
	// ahead.
	maxPending = 2 * 4 * maxPayload
)

// readyTimeout is how long the server may take to accept connections once its
// streams are recovered.
const readyTimeout = 10 * time.Second

// ServerConfig says how to run the embedded server.
type ServerConfig struct {
	// Dir holds the streams; it is created when missing. One process at a time
	// may use it.
	Dir string
	// Log gets the server's messages; nil means slog.Default.
	Log *slog.Logger

	// listen lets tests reach the server over TCP, as a cluster's member too.
	listen func(*server.Options)
}

// Server is an embedded nats-server: JetStream in a folder, every write synced before
// it is acknowledged. Its only listener is a socket in the folder.
type Server struct {
	server *server.Server
	lock   *os.File
	socket *socket // nil where the system would not have it
}

// StartServer runs a server on the folder, or returns an error that names the process
// which uses it.
func StartServer(cfg ServerConfig) (*Server, error) {
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s, err := startServer(cfg)
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("start nats-server on %s: %w", cfg.Dir, err)
	}
	sock, err := listenSocket(cfg.Dir, s.InProcessConn)
	if err != nil { // a path may be too long for one
		logOf(cfg).Warn("no socket in the journal's folder: stele backup cannot reach it", "error", err)
	}
	return &Server{server: s, lock: lock, socket: sock}, nil
}

func logOf(cfg ServerConfig) *slog.Logger {
	if cfg.Log == nil {
		return slog.Default()
	}
	return cfg.Log
}

func startServer(cfg ServerConfig) (*server.Server, error) {
	opts := &server.Options{
		DontListen:             true,
		JetStream:              true,
		StoreDir:               cfg.Dir,
		SyncAlways:             true,
		MaxPayload:             maxPayload,
		MaxPending:             maxPending,
		NoSigs:                 true,
		DisableJetStreamBanner: true,
	}
	if cfg.listen != nil {
		cfg.listen(opts)
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, err
	}
	l := &serverLog{log: logOf(cfg).With("component", "nats-server")}
	s.SetLoggerV2(l, false, false, false)
	s.Start()
	err = l.fatal()
	if err == nil && !s.ReadyForConnections(readyTimeout) {
		err = fmt.Errorf("not ready after %s", readyTimeout)
	}
	if err != nil {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, err
	}
	return s, nil
}

// Connect opens a connection inside the process.
func (s *Server) Connect() (*nats.Conn, error) {
	return nats.Connect("", nats.InProcessServer(s.server), nats.Name("stele"), nats.MaxReconnects(-1))
}

// Close stops the server and waits until its files are closed.
func (s *Server) Close() {
	if s.socket != nil {
		s.socket.close()
	}
	s.server.Shutdown()
	s.server.WaitForShutdown()
	s.lock.Close()
}

// errLocked: another process holds the lock of a folder.
var errLocked = errors.New("the folder is locked by another process")

// lockDir makes the folder and takes its lock, which the system gives back when
// the process ends, however it ends.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "stele.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := tryLock(f, false); err != nil {
		defer f.Close()
		if !errors.Is(err, errLocked) {
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

// serverLog hands the server's messages to slog; its notices are our details. A
// fatal one would end a nats-server of its own: here it fails the start.
type serverLog struct {
	log *slog.Logger

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

func (l *serverLog) Errorf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l *serverLog) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l *serverLog) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *serverLog) Debugf(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *serverLog) Tracef(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
