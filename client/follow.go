package client

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// askInterval is how often a gateway is asked how current the client is.
	askInterval = 2 * time.Second
	// silence is how long a gateway that is asked may say nothing.
	silence = 5 * askInterval
	// maxGatewayAge is how old a gateway's data may be while another one may be newer.
	maxGatewayAge = 15 * time.Second
	// maxReplay is how many commits a client catches up with one by one.
	maxReplay = 1000
)

var (
	// errWorse: another gateway may be more current than this one.
	errWorse = errors.New("it is cut off from the ledger, or contradicts it: another one may not be")
	// errFarBehind: the state is sooner here than all the commits that led to it.
	errFarBehind = errors.New("the client is far behind")
)

// follower follows the settings through one gateway.
type follower struct {
	client  *Client
	address string
	better  func() bool // whether there is another gateway to go to

	created bool
	initial bool // the stream begins with the state, which is not here yet
	reload  bool // the state may be older than the client's, whose history the ledger does not have
	arrived bool // the client has everything that the gateway had at the beginning
	head    uint64
	page    *stelev1.WatchState  // what is here of a state in pages
	part    *stelev1.WatchCommit // what is here of a commit in several messages
	// promise is what the client will know once it has a revision.
	promise struct {
		head    uint64
		current time.Time
	}

	heard atomic.Int64 // when something came, in Unix nanoseconds
	mute  atomic.Bool  // the gateway was silent for too long

	mu    sync.Mutex
	asked time.Time // when the question was sent that is not answered yet
}

// follow returns when the gateway cannot be followed any more, and why.
func (f *follower) follow(ctx context.Context) error {
	conn, err := f.client.cfg.dial(f.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx = f.client.cfg.forTenant(ctx)
	if err := f.identify(ctx, stelev1.NewLedgerClient(conn)); err != nil {
		return err
	}
	f.client.mu.Lock()
	initial := !f.client.have
	f.client.mu.Unlock()
	err = f.watch(ctx, stelev1.NewConfigClient(conn), initial)
	if historyChanged(err) && !f.better() {
		f.client.historyChanged(f.address, err)
		f.reload = true
	}
	if errors.Is(err, errFarBehind) || f.reload {
		err = f.watch(ctx, stelev1.NewConfigClient(conn), true)
	}
	return err
}

// identify asks the gateway which ledger it serves, and whose settings.
func (f *follower) identify(ctx context.Context, gateway stelev1.LedgerClient) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	st, err := gateway.GetStatus(ctx, &stelev1.GetStatusRequest{})
	if err != nil {
		return err
	}
	known := false
	for _, b := range st.Epoch {
		known = known || b != 0
	}
	if !known {
		return status.Error(codes.Unavailable, "it does not know its ledger yet")
	}
	tenant := st.GetPrincipal().GetTenant()
	if tenant == "" {
		return status.Error(codes.InvalidArgument, "the token names no tenant: set Config.Tenant")
	}
	return f.client.identify(tenant, st.Epoch)
}

// watch follows one stream to its end.
func (f *follower) watch(ctx context.Context, gateway stelev1.ConfigClient, initial bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := time.Now()
	stream, err := gateway.Watch(ctx)
	if err != nil {
		return err
	}
	create := &stelev1.CreateWatch{Id: 1, Prefixes: f.client.cfg.Prefixes, InitialState: initial, NewestOnlyWhenSlow: true}
	if !initial {
		s := f.client.state.Load()
		create.FromRevision, create.AfterId = s.revision+1, s.id
	}
	if err := stream.Send(&stelev1.WatchRequest{Request: &stelev1.WatchRequest_Create{Create: create}}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	f.created, f.initial, f.page, f.part, f.asked = false, initial, nil, nil, time.Time{}
	f.heard.Store(began.UnixNano())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.ask(ctx, cancel, stream)
	}()
	defer func() { cancel(); <-done }()
	for {
		resp, err := stream.Recv()
		switch {
		case f.mute.Load():
			return status.Errorf(codes.Unavailable, "it has said nothing for %s", silence)
		case errors.Is(err, io.EOF):
			return status.Error(codes.Unavailable, "it ended the stream")
		case err != nil:
			return err
		}
		f.heard.Store(time.Now().UnixNano())
		if err := f.take(resp, began); err != nil {
			return err
		}
	}
}

// ask asks how current the client is until ctx ends, and cancels the stream when
// nothing comes any more.
func (f *follower) ask(ctx context.Context, cancel context.CancelFunc, stream grpc.BidiStreamingClient[stelev1.WatchRequest, stelev1.WatchResponse]) {
	tick := time.NewTicker(askInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-f.client.hurry:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		if now.Sub(time.Unix(0, f.heard.Load())) > silence {
			f.mute.Store(true)
			cancel()
			return
		}
		f.mu.Lock()
		if f.asked.IsZero() {
			f.asked = now
		}
		f.mu.Unlock()
		if err := stream.Send(&stelev1.WatchRequest{Request: &stelev1.WatchRequest_Progress{Progress: &stelev1.RequestProgress{}}}); err != nil {
			return // receiving returns the reason
		}
	}
}
