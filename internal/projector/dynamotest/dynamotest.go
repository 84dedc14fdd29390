// Package dynamotest starts dynalite, which answers as DynamoDB does, for tests and
// benchmarks. scripts/test installs it.
package dynamotest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Install is the command, to be run in the repository, that installs dynalite.
const Install = "npm ci --prefix scripts/tools/npm"

// ErrMissing says that dynalite is not installed.
var ErrMissing = errors.New("dynalite is not installed: run " + Install)

// Environment lets the AWS SDK sign its calls, which dynalite does not check.
var Environment = []string{"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true"}

// serve runs until its standard input ends, so that it never outlives its parent
// process. The port is the system's choice, hence free.
const serve = `const server = require('dynalite')({createTableMs: 0})
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
process.stdin.on('end', () => process.exit()).resume()`

// Server is a process of dynalite that keeps its tables in memory.
type Server struct {
	// Endpoint is its URL.
	Endpoint string

	process *exec.Cmd
	input   io.Closer
}

// startTimeout bounds how long dynalite may take to listen; it takes 0.15 s.
const startTimeout = time.Minute

// Run starts a server. The error is ErrMissing when dynalite is not installed.
func Run() (*Server, error) {
	dir, err := modules()
	if err != nil {
		return nil, err
	}
	process := exec.Command("node", "-e", serve)
	process.Dir = dir
	process.Stderr = os.Stderr
	input, err := process.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start dynalite: %w", err)
	}
	output, err := process.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start dynalite: %w", err)
	}
	if err := process.Start(); err != nil {
		return nil, fmt.Errorf("start dynalite: %w", err)
	}
	slow := time.AfterFunc(startTimeout, func() { process.Process.Kill() })
	port, err := bufio.NewReader(output).ReadString('\n')
	slow.Stop()
	if err != nil {
		process.Process.Kill()
		return nil, fmt.Errorf("dynalite did not start to listen: %w", errors.Join(err, process.Wait()))
	}
	return &Server{Endpoint: "http://127.0.0.1:" + strings.TrimSpace(port), process: process, input: input}, nil
}

// Close stops the process and returns when it has ended.
func (s *Server) Close() error {
	s.input.Close()
	return s.process.Wait()
}

// Start starts a server for a test, which is skipped when dynalite is not installed,
// and sets the environment so that the AWS SDK can talk to it. It returns the
// server's URL.
func Start(tb testing.TB) string {
	tb.Helper()
	s, err := Run()
	if errors.Is(err, ErrMissing) {
		tb.Skip(err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("stop dynalite: %v", err)
		}
	})
	for _, e := range Environment {
		name, value, _ := strings.Cut(e, "=")
		tb.Setenv(name, value)
	}
	return s.Endpoint
}

// modules is the folder that node finds dynalite from: scripts/tools/npm, here or
// in a folder above.
func modules() (string, error) {
	if _, err := exec.LookPath("node"); err != nil {
		return "", ErrMissing
	}
	at, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find dynalite: %w", err)
	}
	for {
		dir := filepath.Join(at, "scripts", "tools", "npm")
		if _, err := os.Stat(filepath.Join(dir, "node_modules", "dynalite")); err == nil {
			return dir, nil
		}
		if at == filepath.Dir(at) {
			return "", ErrMissing
		}
		at = filepath.Dir(at)
	}
}
