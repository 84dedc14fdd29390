package peer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Stele is `stele up`: everything in one process, fsync always.
type Stele struct {
	// Binary is the program to run; see BuildStele.
	Binary string
	// Routes is a file of routes and sinks; without one every key goes to a file, as
	// it does with `stele up`.
	Routes string
	// Env is added to the environment.
	Env []string
}

// BuildStele compiles cmd/stele of the tree at root to the file out.
func BuildStele(ctx context.Context, root, out string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-C", root, "-tags", "grpcnotrace", "-o", out, "./cmd/stele")
	if b, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build stele: %w\n%s", err, b)
	}
	return nil
}

func (Stele) Name() string { return "stele" }

func (s Stele) Programs(dir string, free func() (string, error)) ([]Program, error) {
	addr, err := free()
	if err != nil {
		return nil, err
	}
	cmd := steleCommand(s.Binary, dir, "up", "--data", dir, "--listen", addr, "--http", "127.0.0.1:0", "--web", "127.0.0.1:0")
	if s.Routes != "" {
		cmd.Args = append(cmd.Args, "--config", s.Routes)
	}
	cmd.Env = append(cmd.Env, s.Env...)
	return one(s.Name(), cmd, addr), nil
}

// steleCommand runs the binary in dir, where no stele.yaml is, with no
// configuration of the user's.
func steleCommand(binary, dir string, args ...string) *exec.Cmd {
	cmd := exec.Command(binary, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "STELE_CONFIG="+filepath.Join(dir, "config.yaml"))
	return cmd
}

func (s Stele) Dial(ctx context.Context, dir string, addrs []string, conns int) (Client, error) {
	return dialStele(ctx, identityDir(dir), pingTenant, addrs, conns)
}

// pingTenant is the tenant that a new connection asks about, at a gateway that
// serves all.
const pingTenant = "ping"

// dialStele opens connections to Stele with tokens that the keys in the directory
// identities sign. On each it asks for the head of the tenant ping.
func dialStele(ctx context.Context, identities, ping string, addrs []string, conns int) (Client, error) {
	signer, err := identity.OpenSigner(identities)
	if err != nil {
		return nil, err
	}
	c := &steleClient{signer: signer}
	c.pool, err = dialPool(addrs, conns, func(addr string) (*grpc.ClientConn, error) {
		cc, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return nil, err
		}
		if _, err := stelev1.NewLedgerClient(cc).GetHead(ctx, &stelev1.GetHeadRequest{}, c.as(ping)); err != nil {
			return nil, errors.Join(err, cc.Close())
		}
		return cc, nil
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// steleClient calls with a token of the tenant's own: what the operator does whose
// token "stele up" leaves would be recorded, call by call.
type steleClient struct {
	*pool[*grpc.ClientConn]
	signer *identity.Signer

	mu     sync.Mutex        // guards tokens
	tokens map[string]bearer // by tenant
}

// tokenTTL outlives any run.
const tokenTTL = 24 * time.Hour

// bearer is the header with the token that every call carries, or why there is none.
type bearer struct {
	header map[string]string
	err    error
}

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return b.header, b.err
}

func (bearer) RequireTransportSecurity() bool { return false }

// mint makes a token here: a process for each would be measured with the first calls.
func (c *steleClient) mint(claims identity.Claims) (b bearer) {
	claims.Subject, claims.TTL = "bench", tokenTTL
	token, err := c.signer.Mint(claims)
	return bearer{map[string]string{"authorization": "Bearer " + token}, err}
}

func (c *steleClient) as(tenant string) grpc.CallOption {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, ok := c.tokens[tenant]
	if !ok {
		if c.tokens == nil {
			c.tokens = make(map[string]bearer)
		}
		b = c.mint(identity.Claims{Tenant: ledger.Tenant(tenant), Roles: []identity.Role{identity.Admin}})
		c.tokens[tenant] = b
	}
	return grpc.PerRPCCredentials(b)
}

func (c *steleClient) config() stelev1.ConfigClient { return stelev1.NewConfigClient(c.next()) }
func (c *steleClient) ledger() stelev1.LedgerClient { return stelev1.NewLedgerClient(c.next()) }

func (c *steleClient) Read(ctx context.Context, tenant, key string) (string, error) {
	r, err := c.config().Get(ctx, &stelev1.GetRequest{Key: key}, c.as(tenant))
	return r.GetEntry().GetValue(), err
}

func (c *steleClient) ReadBatch(ctx context.Context, tenant string, keys []string) error {
	r, err := c.config().BatchGet(ctx, &stelev1.BatchGetRequest{Keys: keys}, c.as(tenant))
	if err != nil {
		return err
	}
	if len(r.Missing) > 0 {
		return fmt.Errorf("stele: %q is not set", r.Missing[0])
	}
	return nil
}

func (c *steleClient) OpenReads(ctx context.Context, tenant string) (ReadStream, error) {
	s, err := c.config().Read(ctx, c.as(tenant))
	return steleReads{s}, err
}

type steleReads struct{ stelev1.Config_ReadClient }

func (s steleReads) Send(key string) error {
	return s.Config_ReadClient.Send(&stelev1.ReadRequest{Keys: []string{key}})
}

func (s steleReads) Recv() error {
	r, err := s.Config_ReadClient.Recv()
	switch {
	case err != nil:
		return err
	case r.Error != nil:
		return fmt.Errorf("stele: read: %s", r.Error.Message)
	case len(r.Entries) != 1:
		return fmt.Errorf("stele: %q is not set", r.Missing)
	}
	return nil
}

func commitOf(set ...Entry) *stelev1.CommitRequest {
	changes := make([]*stelev1.Change, len(set))
	for i, e := range set {
		changes[i] = &stelev1.Change{Key: e.Key, Value: e.Value}
	}
	return &stelev1.CommitRequest{Changes: changes, AllowEmpty: true}
}

func (c *steleClient) Write(ctx context.Context, tenant string, e Entry) error {
	return c.WriteSet(ctx, tenant, []Entry{e})
}

func (c *steleClient) WriteSet(ctx context.Context, tenant string, set []Entry) error {
	_, err := c.ledger().Commit(ctx, commitOf(set...), c.as(tenant))
	return err
}

func (c *steleClient) OpenWrites(ctx context.Context, tenant string) (WriteStream, error) {
	s, err := c.ledger().CommitStream(ctx, c.as(tenant))
	return steleWrites{s}, err
}

type steleWrites struct {
	stelev1.Ledger_CommitStreamClient
}

func (s steleWrites) Send(e Entry) error {
	return s.Ledger_CommitStreamClient.Send(&stelev1.CommitStreamRequest{Commit: commitOf(e)})
}

func (s steleWrites) Recv() error {
	_, err := s.Ledger_CommitStreamClient.Recv()
	return err
}
