package systemtest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stelehq/stele/cmd/stele/internal/certs"
	"github.com/stelehq/stele/cmd/stele/internal/cli"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger/journal"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// commandOutput runs a command in this process. It returns the exit code, and what was printed and
// reported.
func commandOutput(t *testing.T, args ...string) (int, string) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	out, errOut := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = file, file
	defer func() { os.Stdout, os.Stderr = out, errOut }()
	cmd := cli.RootCommand(new(session.Flags))
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	for _, line := range failure.Lines(err) {
		fmt.Fprintln(file, line)
	}
	return failure.Code(err), string(readFile(t, file.Name()))
}

// separate is a gateway whose journal is on a NATS server that can be stopped.
type separate struct {
	address, token string
	nats           *server.Server
	config         stelev1.ConfigClient
}

func startSeparate(t *testing.T, staleAfter time.Duration) *separate {
	t.Helper()
	t.Setenv("STELE_CONFIG", filepath.Join(t.TempDir(), "config.yaml"))
	var err error
	s := &separate{token: filepath.Join(t.TempDir(), "token")}
	if s.nats, err = server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true}); err != nil {
		t.Fatal(err)
	}
	s.nats.Start()
	t.Cleanup(func() {
		s.nats.Shutdown()
		s.nats.WaitForShutdown()
	})
	if !s.nats.ReadyForConnections(soon) {
		t.Fatal("the nats-server does not start")
	}
	signer, err := identity.OpenSigner(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := identity.NewVerifier(identity.Config{Keys: signer.Keys(), Issuer: identity.LocalIssuer, Audience: identity.LocalAudience})
	if err != nil {
		t.Fatal(err)
	}
	token, err := signer.Mint(identity.Claims{Subject: "ann", Tenant: "acme", Roles: []identity.Role{identity.Admin}, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, s.token, []byte(token))
	n, err := node.Start(t.Context(), node.Config{
		Data: t.TempDir(), Listen: "127.0.0.1:0", HTTP: "127.0.0.1:0", Roles: []string{node.RoleLedger, node.RoleGateway, node.RoleProjector}, Routes: node.LocalRoutes(), Verifier: verifier, StaleAfter: staleAfter,
		NATS: &node.NATS{URL: s.nats.ClientURL()}, Journal: journal.Config{UnsafeSync: true}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
	s.address = n.GRPC()
	cc, err := conn.Dial(s.address, certs.Files{}, func() (string, error) { return token, nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	s.config = stelev1.NewConfigClient(cc)
	await(t, "a gateway that takes writes", func() bool {
		code, _ := s.run(t, "set", "a/b", "1")
		return code == failure.OK
	})
	return s
}

func (s *separate) run(t *testing.T, args ...string) (int, string) {
	t.Helper()
	return commandOutput(t, append([]string{"--address", s.address, "--token-file", s.token}, args...)...)
}

// state describes the state that an answer is of.
func (s *separate) state(t *testing.T) *stelev1.Snapshot {
	t.Helper()
	resp, err := s.config.Get(t.Context(), &stelev1.GetRequest{Key: "a/b"})
	if err != nil {
		t.Fatal(err)
	}
	return resp.Snapshot
}

// Without its journal a gateway serves what it has, and says how old that is. No command
// reports as fine what it could not look at.
func TestUnreachableJournal(t *testing.T) {
	const stale = 2 * time.Second
	s := startSeparate(t, stale)
	await(t, "a gateway without problems", func() bool {
		code, out := s.run(t, "doctor")
		return code == failure.OK && !strings.Contains(out, "FAIL")
	})
	if code, out := s.run(t, "get", "a/b", "--max-age", "1h"); code != failure.OK || out != "1\n" {
		t.Errorf("get with the journal: exit code %d, %s", code, out)
	}
	if st := s.state(t); st.Stale && st.Age.AsDuration() <= stale {
		t.Errorf("an answer of the age %s is marked as stale", st.Age.AsDuration())
	}

	s.nats.Shutdown()
	s.nats.WaitForShutdown()
	await(t, "data that is older than --stale-after", func() bool {
		st := s.state(t)
		if age := st.Age.AsDuration(); st.Stale != (age > stale) {
			t.Fatalf("an answer of the age %s is marked as stale: %t", age, st.Stale)
		}
		return st.Stale
	})
	if code, out := s.run(t, "get", "a/b", "--max-age", "1s"); code != failure.Other || !strings.Contains(out, "and --max-age is 1s") || strings.HasPrefix(out, "1") {
		t.Errorf("get --max-age 1s: exit code %d, %s", code, out)
	}
	if code, out := s.run(t, "get", "a/b", "--max-age", "1h"); code != failure.OK || !strings.HasPrefix(out, "1\n") {
		t.Errorf("get --max-age 1h: exit code %d, %s", code, out)
	}
	if code, out := s.run(t, "--timeout", "300ms", "set", "a/b", "2"); code != failure.Other || !strings.Contains(out, "retry with --request-id") {
		t.Errorf("set: exit code %d, %s", code, out)
	}

	await(t, "data that doctor reports", func() bool { return s.state(t).Age.AsDuration() > 5*time.Second })
	for _, more := range [][]string{nil, {"a/c"}, {"--explain"}} { // the error only, without the warning about the same
		args := append([]string{"get", "a/b", "--max-age", "1s"}, more...)
		if code, out := s.run(t, args...); code != failure.Other || !strings.Contains(out, "and --max-age is 1s") || strings.HasPrefix(out, "1") || strings.Contains(out, "warning") {
			t.Errorf("%q: exit code %d, %s", args, code, out)
		}
	}
	if code, out := s.run(t, "get", "a/b", "--max-age", "1h"); code != failure.OK || out != "1\n" {
		t.Errorf("get --max-age 1h of data that is not too old: exit code %d, %s", code, out)
	}
	code, out := s.run(t, "doctor")
	if code != failure.Other {
		t.Errorf("doctor: exit code %d", code)
	}
	for _, check := range []string{"replica", "writes", "sinks"} {
		if !strings.Contains(out, "FAIL  "+check) {
			t.Errorf("doctor does not report %s:\n%s", check, out)
		}
	}
	for _, args := range [][]string{
		{"get", "a/b"}, {"get", "a/b", "--explain"}, {"list"}, {"export"}, {"grep", "b"}, {"log"}, {"diff", "@0"}, {"blame"}, {"show", "@1"}, {"rollback", "--to", "@0", "--dry-run"}, {"exec", "a", "--", "true"},
	} {
		if code, out := s.run(t, args...); code != failure.OK || strings.Count(out, "warning: the gateway's data is") != 1 {
			t.Errorf("%q does not warn once of old data: exit code %d, %s", args, code, out)
		}
	}
}

// A gateway that accepts connections and never answers is given up after --timeout.
func TestTimeout_SilentGateway(t *testing.T) {
	t.Setenv("STELE_CONFIG", filepath.Join(t.TempDir(), "config.yaml"))
	l, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts; nothing answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, args := range [][]string{{"get", "a/b"}, {"list"}, {"set", "a/b", "1"}} {
		began := time.Now()
		code, out := commandOutput(t, append([]string{"--address", l.Addr().String(), "--timeout", "100ms"}, args...)...)
		if code != failure.Other || !strings.Contains(out, "the gateway did not answer in time") {
			t.Errorf("%v: exit code %d, %s", args, code, out)
		}
		if took := time.Since(began); took > 10*time.Second { // without the flag, 15 s
			t.Errorf("%v took %s", args, took)
		}
	}
}
