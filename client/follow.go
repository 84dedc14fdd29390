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
	// maxGatewayAge is how old what a gateway knows may be while another one may know
	// more.
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
	arrived bool // the client has everything that the gateway had at the beginning
	head    uint64
	page    *stelev1.WatchState // what is here of a state in pages
	// promise is what the client will know when it has a revision.
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
	if errors.Is(err, errFarBehind) {
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
		create.FromRevision = f.client.state.Load().revision + 1
	}
	if err := stream.Send(&stelev1.WatchRequest{Request: &stelev1.WatchRequest_Create{Create: create}}); err != nil && err != io.EOF {
		return err
	}
	f.created, f.initial, f.page, f.asked = false, initial, nil, time.Time{}
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
		case err == io.EOF:
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
			return // receiving tells why
		}
	}
}

// take applies what the gateway has sent.
func (f *follower) take(resp *stelev1.WatchResponse, began time.Time) error {
	c := f.client
	switch e := resp.Event.(type) {
	case *stelev1.WatchResponse_Created:
		f.created, f.head = true, e.Created.Snapshot.GetHead()
		if have := c.state.Load().revision; !f.initial && f.head > have+maxReplay {
			return errFarBehind
		}
		if err := f.hear(e.Created.Snapshot, began); err != nil {
			return err
		}
	case *stelev1.WatchResponse_State:
		if err := f.state(e.State); err != nil {
			return err
		}
	case *stelev1.WatchResponse_Commit:
		c.apply(e.Commit)
	case *stelev1.WatchResponse_Progress:
		if f.initial {
			return nil
		}
		c.pass(e.Progress.Snapshot.GetRevision())
		f.settle()
		if asked := f.answered(); !asked.IsZero() {
			if err := f.hear(e.Progress.Snapshot, asked); err != nil {
				return err
			}
		}
	case *stelev1.WatchResponse_Canceled:
		if e.Canceled.ResumeRevision > 0 {
			return status.Error(codes.Unavailable, "it has fallen behind with the stream")
		}
		return status.ErrorProto(e.Canceled.Status)
	}
	f.settle()
	return nil
}

// answered is when the question was sent that has been answered now: what the answer
// says is at least as new.
func (f *follower) answered() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := f.asked
	f.asked = time.Time{}
	return asked
}

// hear notes what a gateway says of its own knowledge, at a time or later.
func (f *follower) hear(s *stelev1.Snapshot, at time.Time) error {
	age := s.GetAge().AsDuration()
	if (s.GetStale() || age > maxGatewayAge) && f.better() {
		return errWorse
	}
	f.client.note(func(k *knowledge) { k.stale = s.GetStale() })
	if !s.GetStale() {
		f.promise.head, f.promise.current = s.GetHead(), at.Add(-age)
	}
	return nil
}

// settle notes what the client knows now that it has the revision that it has.
func (f *follower) settle() {
	c := f.client
	have := c.state.Load().revision
	if !f.created || f.initial {
		return
	}
	if p := f.promise; have >= p.head && !p.current.IsZero() {
		f.promise.current = time.Time{}
		c.note(func(k *knowledge) {
			if p.current.After(k.current) {
				k.current = p.current
			}
		})
	}
	if have >= f.head && !f.arrived {
		f.arrive()
	}
}

// arrive notes that the client has all that the gateway had when it was first asked.
func (f *follower) arrive() {
	f.arrived = true
	c := f.client
	c.note(func(k *knowledge) { k.gateway, k.live, k.err = f.address, true, nil })
	c.mu.Lock()
	first := !c.isLive
	c.isLive, c.pinned = true, true
	c.mu.Unlock()
	if first {
		close(c.live)
	}
	c.cfg.Log.Info("the settings are followed", "gateway", f.address, "revision", c.state.Load().revision)
}

// state takes a page of a state: all of it, or of the keys whose commits were
// skipped.
func (f *follower) state(s *stelev1.WatchState) error {
	if f.page == nil {
		f.page = &stelev1.WatchState{}
	}
	f.page.Entries = append(f.page.Entries, s.Entries...)
	f.page.Deleted = append(f.page.Deleted, s.Deleted...)
	if s.More {
		return nil
	}
	page := f.page
	f.page = nil
	page.Revision = s.Revision
	if !f.initial {
		f.client.catchUp(page)
		return nil
	}
	if have := f.client.state.Load().revision; page.Revision < have {
		return status.Errorf(codes.OutOfRange, "it is behind: it has revision %d, and the client %d", page.Revision, have)
	}
	f.client.replace(page)
	f.initial = false
	return nil
}

// replace makes the state a gateway's.
func (c *Client) replace(s *stelev1.WatchState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := replaced(s.Entries)
	c.advance(s.Revision, d, differences(c.state.Load(), d.finish(s.Revision, nil)))
}

// catchUp applies what several commits have led to.
func (c *Client) catchUp(s *stelev1.WatchState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.state.Load()
	if s.Revision <= before.revision {
		return
	}
	d, keys := before.draft(), make(map[string]bool)
	for _, e := range s.Entries {
		d.set(entryOf(e))
		keys[e.Key] = true
	}
	for _, k := range s.Deleted {
		d.delete(k)
		keys[k] = true
	}
	c.advance(s.Revision, d, keys)
}

// apply applies one commit, once.
func (c *Client) apply(commit *stelev1.WatchCommit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.state.Load()
	if commit.Revision <= before.revision {
		return
	}
	d, keys := before.draft(), make(map[string]bool)
	for _, ch := range commit.Changes {
		keys[ch.Key] = true
		if ch.Delete {
			d.delete(ch.Key)
			continue
		}
		d.set(Entry{Key: ch.Key, Value: ch.Value, Revision: commit.Revision, Secret: ch.Value == mask})
	}
	c.advance(commit.Revision, d, keys)
}
