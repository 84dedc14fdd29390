package peer

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/stelehq/stele/internal/gateway/identity"
)

// SteleServe is some `stele serve` processes and the NATS servers, fsync always,
// that they share.
type SteleServe struct {
	Stele
	// Servers is the number of NATS servers, which all hold the journal.
	Servers int
	// Ledgers is the number of stele processes. One runs all roles; several run the
	// roles ledger and gateway each.
	Ledgers int
}

func (s SteleServe) Name() string { return clusterName("stele", s.Servers) }

func (s SteleServe) Programs(dir string, free func() (string, error)) ([]Program, error) {
	servers, err := NATS{Servers: s.Servers}.servers(filepath.Join(dir, "nats"), free)
	if err != nil {
		return nil, err
	}
	identities, err := identityArgs(dir)
	if err != nil {
		return nil, err
	}
	var (
		programs       []Program
		urls, monitors []string
	)
	for _, server := range servers {
		urls = append(urls, "nats://"+server.Addr)
		monitors = append(monitors, "http://"+server.monitor)
		addr := server.Addr
		server.Addr = "" // the clients are Stele's
		if len(urls) == len(servers) {
			server.Ready = func(ctx context.Context) error { return jetStreamReady(ctx, addr) }
		}
		programs = append(programs, server.Program)
	}
	roles := []string{"--roles", "ledger,gateway"}
	if s.Ledgers == 1 {
		roles = []string{"--roles", "ledger,gateway,signer,projector", "--checkpoint-key", filepath.Join(dir, "checkpoint.key")}
	}
	for i := range s.Ledgers {
		addr, err := free()
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("stele-%d", i+1)
		cmd := steleCommand(s.Binary, dir, "serve", "--data", filepath.Join(dir, name), "--config", s.Routes,
			"--nats-url", strings.Join(urls, ","), "--nats-monitor", strings.Join(monitors, ","), "--replicas", fmt.Sprint(s.Servers),
			"--listen", addr, "--http", "127.0.0.1:0", "--web", "127.0.0.1:0")
		cmd.Args = append(append(cmd.Args, roles...), identities...)
		programs = append(programs, Program{Name: name, Cmd: cmd, Addr: addr})
	}
	return programs, nil
}

// Probe writes through each process: they answer before they have reached the
// journal.
func (s SteleServe) Probe(ctx context.Context, c Client) error {
	for range s.Ledgers {
		if err := c.(Writer).Write(ctx, pingTenant, Entry{"tenantconfig/ready", `true`}); err != nil {
			return err
		}
	}
	return nil
}

// identityArgs are the flags that let a `stele serve` accept the tokens that the
// keys in dir sign. It creates the keys.
func identityArgs(dir string) ([]string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	identities := identityDir(dir)
	if _, err := identity.OpenSigner(identities); err != nil {
		return nil, err
	}
	return []string{"--jwks", filepath.Join(identities, "jwks.json"), "--issuer", identity.LocalIssuer, "--audience", identity.LocalAudience}, nil
}

// identityDir holds the keys that sign the tokens of a ledger's callers.
func identityDir(dir string) string { return filepath.Join(dir, "identity") }

// Edge is a gateway that replicates one tenant from another gateway.
type Edge struct {
	Stele
	// Core is the directory of the ledger whose keys sign the tokens of callers.
	Core string
	// Upstream is the address to replicate from.
	Upstream string
	// History is how much history the edge keeps: all or none.
	History string
	Tenant  string
}

// EdgeFlag is the flag without which a `stele serve` cannot be an edge.
const EdgeFlag = "--upstream"

func (Edge) Name() string { return "edge" }

// args are the arguments of an edge. This is the only place that knows its flags.
func (e Edge) args(dir, addr string) ([]string, error) {
	identities, err := identityArgs(e.Core)
	if err != nil {
		return nil, err
	}
	token, err := e.token(dir)
	if err != nil {
		return nil, err
	}
	return append([]string{
		"serve", "--roles=gateway", EdgeFlag, e.Upstream, "--tenants", e.Tenant, "--history", e.History, "--token-file", token,
		"--data", dir, "--listen", addr, "--http", "127.0.0.1:0", "--web", "", "--log-level", "warn",
	}, identities...), nil
}

// token writes the token that lets the edge replicate, and returns its file.
func (e Edge) token(dir string) (string, error) {
	signer, err := identity.OpenSigner(identityDir(e.Core))
	if err != nil {
		return "", err
	}
	token, err := signer.Mint(identity.Claims{Subject: "edge", Replicates: []string{e.Tenant}, TTL: tokenTTL})
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "edge.token")
	return path, os.WriteFile(path, []byte(token), 0o600)
}

func (e Edge) Programs(dir string, free func() (string, error)) ([]Program, error) {
	addr, err := free()
	if err != nil {
		return nil, err
	}
	args, err := e.args(dir, addr)
	if err != nil {
		return nil, err
	}
	return one(e.Name(), steleCommand(e.Binary, dir, args...), addr), nil
}

func (e Edge) Dial(ctx context.Context, _ string, addrs []string, conns int) (Client, error) {
	return dialStele(ctx, identityDir(e.Core), e.Tenant, addrs, conns)
}

// HasFlag reports whether `stele serve` lists the flag.
func (s Stele) HasFlag(ctx context.Context, flag string) (bool, error) {
	b, err := exec.CommandContext(ctx, s.Binary, "serve", "--help").CombinedOutput()
	if err != nil {
		return false, fmt.Errorf("stele serve --help: %w\n%s", err, b)
	}
	for word := range strings.FieldsSeq(string(b)) {
		if word == flag {
			return true, nil
		}
	}
	return false, nil
}

// Version is what `stele --version` prints.
func (s Stele) Version(ctx context.Context) (string, error) {
	b, err := exec.CommandContext(ctx, s.Binary, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("stele --version: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return line, nil
}
