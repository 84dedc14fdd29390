package replication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stelehq/stele/internal/gateway/reason"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
	"github.com/stelehq/stele/internal/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	// pollInterval is how often the upstream is asked how far it has come. It bounds the
	// age of the edge's answers.
	pollInterval = 500 * time.Millisecond
	// silence is how long an upstream may not answer before another one is tried.
	silence = 5 * time.Second
	// retryFirst and retryMost bound the pause after all upstreams have failed.
	retryFirst = 100 * time.Millisecond
	retryMost  = 2 * time.Second
	// leftFor is how long an upstream that contradicts what was seen is not used again.
	leftFor = 10 * time.Minute
	// tooOld is the age of its data at which an upstream is left for another one.
	tooOld = 10 * time.Second
	// maxReceive is the longest message, in bytes: a batch, or one large commit.
	maxReceive = 16 << 20
	// maxPath and maxTrouble bound the stored path of an upstream, in gateways, and its
	// error, in bytes.
	maxPath    = 64
	maxTrouble = 500
)

// Config defines what to replicate from where.
type Config struct {
	// Addresses of the upstreams, host:port, in the order in which they are tried.
	Addresses []string
	// Dial makes a connection that sends this edge's token. Calls with a token of their
	// own go over connections that Forward makes.
	Dial func(address string) (*grpc.ClientConn, error)
	// Forward makes a connection that sends no token.
	Forward func(address string) (*grpc.ClientConn, error)
	// Tenants to replicate; none for all.
	Tenants []ledger.Tenant
	// Self is this gateway.
	Self *stelev1.GatewayID
	// Reports, if set, returns the status of this gateway and of those below it, for the upstream.
	Reports func() []*stelev1.GatewayStatus
	// Pin keeps the ledger's public key and the newest verified checkpoint.
	Pin Pin
	// Witnesses that must have cosigned the upstream's checkpoints.
	Witnesses proof.Witnesses
	Log       *slog.Logger
}

// Client follows upstreams, one at a time. It is a replica.Upstream. Close it after the
// replica.
type Client struct {
	cfg       Config
	upstreams []*upstream

	mu       sync.Mutex // guards the fields below, and fields of upstreams that name it
	followed *upstream  // nil while there is none
	path     Path       // of the one that was followed last
	// suspect reports that an upstream has contradicted what was seen, and that since
	// then no checkpoint has proven its earlier commits.
	suspect bool
}

// upstream is one address. conn is made when it is first used.
type upstream struct {
	address string
	once    sync.Once
	conn    *grpc.ClientConn // with this edge's token
	forward *grpc.ClientConn // without a token
	err     error            // of making them

	// Guarded by Client.mu.
	trouble string // why it is not followed
	path    Path
	left    time.Time // when it contradicted what was seen; zero if it did not
	// verified is when, and at which size, commits were last proven.
	verified     time.Time
	verifiedSize int64
}

// NewClient follows nothing until the replica calls Follow.
func NewClient(cfg Config) *Client {
	c := &Client{cfg: cfg}
	for _, address := range cfg.Addresses {
		c.upstreams = append(c.upstreams, &upstream{address: address})
	}
	return c
}

// Close closes the connections.
func (c *Client) Close() error {
	var errs []error
	for _, u := range c.upstreams {
		u.once.Do(func() { u.err = errors.New("closed") })
		for _, conn := range []*grpc.ClientConn{u.conn, u.forward} {
			if conn != nil {
				errs = append(errs, conn.Close())
			}
		}
	}
	return errors.Join(errs...)
}

func (c *Client) open(u *upstream) (*grpc.ClientConn, error) {
	u.once.Do(func() {
		if u.conn, u.err = c.cfg.Dial(u.address); u.err == nil {
			u.forward, u.err = c.cfg.Forward(u.address)
		}
	})
	return u.conn, u.err
}

// Epoch asks the upstreams, in their order, for the identity of the ledger.
func (c *Client) Epoch(ctx context.Context) (e ledger.Epoch, err error) {
	err = errAllLeft
	for _, u := range c.upstreams {
		if c.isLeft(u) {
			continue
		}
		var welcome *stelev1.FollowWelcome
		if welcome, err = c.welcome(ctx, u); err == nil && len(welcome.Epoch) != len(e) {
			err = fmt.Errorf("%w: its epoch has %d bytes", errContradiction, len(welcome.Epoch))
		}
		if err == nil {
			return ledger.Epoch(welcome.Epoch), nil
		}
		err = fmt.Errorf("upstream %s: %w", u.address, err)
		c.failed(u, err)
	}
	return e, err
}

// welcome starts to follow, and ends it.
func (c *Client) welcome(ctx context.Context, u *upstream) (*stelev1.FollowWelcome, error) {
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	stream, err := c.start(ctx, u, nil, nil)
	if err != nil {
		return nil, err
	}
	m, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	if m.GetWelcome() == nil {
		return nil, errors.New("its first response is not a welcome")
	}
	return m.GetWelcome(), nil
}

type stream = grpc.BidiStreamingClient[stelev1.FollowRequest, stelev1.FollowResponse]

func (c *Client) start(ctx context.Context, u *upstream, epoch []byte, have []replica.TenantHead) (stream, error) {
	conn, err := c.open(u)
	if err != nil {
		return nil, err
	}
	s, err := stelev1.NewReplicationClient(conn).Follow(ctx, grpc.MaxCallRecvMsgSize(maxReceive))
	if err != nil {
		return nil, err
	}
	start := &stelev1.FollowStart{Epoch: epoch, AllTenants: len(c.cfg.Tenants) == 0}
	for _, t := range c.cfg.Tenants {
		start.Tenants = append(start.Tenants, string(t))
	}
	for _, h := range have {
		start.Have = append(start.Have, head(h))
	}
	return s, s.Send(&stelev1.FollowRequest{Request: &stelev1.FollowRequest_Start{Start: start}})
}

func head(h replica.TenantHead) *stelev1.ReplicatedHead {
	return &stelev1.ReplicatedHead{Tenant: string(h.Tenant), Revision: uint64(h.Head.Revision), Id: h.Head.ID[:]}
}

// Follow applies the commits of the upstreams until ctx ends or the replica's file
// fails. It changes to the next one after a failure, and continues where the other
// ended.
func (c *Client) Follow(ctx context.Context, epoch ledger.Epoch, to *replica.Target) error {
	defer c.following(nil, nil)
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		for _, u := range c.upstreams {
			if c.isLeft(u) {
				continue
			}
			begun := time.Now()
			err := c.session(ctx, u, epoch, to)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if replica.IsDamage(err) {
				return err
			}
			if c.failed(u, err) {
				return replica.Discard(err)
			}
			c.cfg.Log.Warn("cannot follow the upstream; trying the next", "upstream", u.address, "error", err)
			if time.Since(begun) > silence { // it worked for a while
				wait = retryFirst
			}
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// following notes which upstream is followed, and its path.
func (c *Client) following(u *upstream, path Path) error {
	if len(path) > maxPath {
		return fmt.Errorf("%w: its path has %d gateways", errContradiction, len(path))
	}
	if path.contains(c.cfg.Self) {
		return fmt.Errorf("%w: %s > %s", ErrCycle, c.cfg.Self.Address, path)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.followed = u; u != nil {
		u.trouble, u.path, c.path = "", path, path
	}
	return nil
}

// failed records why an upstream is not followed. One that contradicts what was seen is
// not used for a while. It reports whether the replica must be rebuilt: a commit was
// forged, or the upstream does not have the commits of another one that was left.
func (c *Client) failed(u *upstream, err error) (discard bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	u.trouble, u.path, c.followed = err.Error(), nil, nil
	discard = errors.Is(err, errForged) || c.suspect && contradictsEdge(err)
	var chain *ledger.ChainError
	contradicts := errors.As(err, &chain) || errors.Is(err, errContradiction) || errors.Is(err, errNotProven)
	switch {
	case discard:
		c.suspect = false
	case contradicts:
		c.suspect = true
	}
	if contradicts {
		u.left = time.Now()
		c.cfg.Log.Error("the upstream contradicts what was seen of the ledger; it is left for others", "upstream", u.address, "for", leftFor, "error", err)
	}
	if s, ok := status.FromError(err); ok && s.Code() != codes.Unknown {
		u.trouble = s.Message()
	}
	u.trouble = strings.ToValidUTF8(u.trouble[:min(len(u.trouble), maxTrouble)], "")
	return discard
}

// contradictsEdge reports whether an upstream rejected the edge's commits.
func contradictsEdge(err error) bool {
	if errors.Is(err, ErrHistoryChanged) {
		return true
	}
	why := reason.Of(err)
	return why == reason.HistoryChanged || why == reason.UpstreamBehind
}

func (c *Client) isLeft(u *upstream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return u.isLeft()
}

// isLeft is called with Client.mu held.
func (u *upstream) isLeft() bool { return time.Since(u.left) < leftFor }

// Path is the gateways from this one up to the one that follows the journal, as far as
// that is known.
func (c *Client) Path() Path {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append(Path{c.cfg.Self}, c.path...)
}

// Status describes the upstreams, in the order in which they are tried.
func (c *Client) Status() []*stelev1.UpstreamStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*stelev1.UpstreamStatus
	for _, u := range c.upstreams {
		st := &stelev1.UpstreamStatus{Address: u.address, Following: u == c.followed, Error: u.trouble, Path: u.path.addresses(), VerifiedSize: uint64(u.verifiedSize)}
		if !u.verified.IsZero() {
			st.Verified = timestamppb.New(u.verified)
		}
		out = append(out, st)
	}
	return out
}

// best is the upstream that is followed, else the first that is not left; nil if all are.
func (c *Client) best() *upstream {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.followed != nil {
		return c.followed
	}
	if i := slices.IndexFunc(c.upstreams, func(u *upstream) bool { return !u.isLeft() }); i >= 0 {
		return c.upstreams[i]
	}
	return nil
}

// errAllLeft: no upstream is trusted at the moment.
var errAllLeft = fmt.Errorf("%w: every upstream has contradicted what was seen of the ledger", ledger.ErrUnavailable)

// connected is the upstream to call, with its connections made. The address is known even
// if there is an error.
func (c *Client) connected() (u *upstream, address string, err error) {
	u = c.best()
	if u == nil {
		return nil, c.upstreams[0].address, errAllLeft
	}
	if _, err := c.open(u); err != nil {
		return nil, u.address, fmt.Errorf("%w: upstream %s: %w", ledger.ErrUnavailable, u.address, err)
	}
	return u, u.address, nil
}

// Conn is a connection to an upstream that sends no token of its own, and its address.
func (c *Client) Conn() (*grpc.ClientConn, string, error) {
	u, address, err := c.connected()
	if err != nil {
		return nil, address, err
	}
	return u.forward, address, nil
}

// Append makes a record of a read of the tenant durable in the ledger.
func (c *Client) Append(ctx context.Context, tenant string, record []byte) (ledger.Sequence, error) {
	u, address, err := c.connected()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	resp, err := stelev1.NewReplicationClient(u.conn).RecordRead(Via(ctx, c.cfg.Self), &stelev1.RecordReadRequest{Tenant: tenant, Record: record})
	if err != nil {
		return 0, fmt.Errorf("%w: record a read at the upstream %s: %w", ledger.ErrUnavailable, address, err)
	}
	return ledger.Sequence(resp.Sequence), nil
}

// Prove asks the upstream, for a gateway below this one.
func (c *Client) Prove(ctx context.Context, req *stelev1.ProveRequest) (*stelev1.ProveResponse, error) {
	u, _, err := c.connected()
	if err != nil {
		return nil, err
	}
	return stelev1.NewReplicationClient(u.conn).Prove(Via(ctx, c.cfg.Self), req)
}
