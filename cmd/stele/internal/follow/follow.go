// Package follow watches keys and prefixes until its caller stops it: a broken watch is
// created again from the revision after the last one seen, so nothing is missed and
// nothing is repeated.
package follow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Config is what to watch, and the functions to call.
type Config struct {
	Client stelev1.ConfigClient
	// Gateways is the number of gateways of the client: until a watch is created, each is tried.
	Gateways int
	// Keys and Prefixes select what to watch; the empty prefix selects everything.
	Keys, Prefixes []string
	// From is the first revision to report; 0 for revisions after the head.
	From ledger.Revision
	// AfterID is the id of the commit before From, if it is known.
	AfterID []byte
	// Initial asks for the state at head first; From is then 0.
	Initial bool

	// State is called with the whole state at a revision.
	State func(ledger.Revision, []*stelev1.Entry) error
	// Commit is called with one commit, and its watched changes.
	Commit func(*stelev1.WatchCommit) error
	// Lost is called when the connection is lost, with the revision that the watch resumes
	// from, for example "from @42"; empty before the first response.
	Lost func(err error, from string)
}

type follower struct {
	Config
	// next is the revision to resume from; 0 before anything was seen.
	next ledger.Revision
	// after is the id of the commit before next; empty if that was not seen.
	after []byte
	// state gathers the parts of an initial state, and changes the parts of a commit.
	state   []*stelev1.Entry
	changes []*stelev1.Change
}

// refused is an error of a callback, which ends the watch.
type refused struct{ error }

func (r refused) Unwrap() error { return r.error }

// Watch watches until ctx is done, a callback fails or the gateway refuses. If no
// gateway is available at first, that is an error; one that becomes unavailable later is
// waited for.
func Watch(ctx context.Context, cfg Config) error {
	f := &follower{Config: cfg, next: cfg.From, after: cfg.AfterID}
	return repeat(ctx, cfg.Gateways, f.once, f.mayPass, func(err error) { f.Lost(err, f.resume()) })
}

// resume describes where the next stream begins.
func (f *follower) resume() string {
	if f.next == 0 {
		return ""
	}
	return fmt.Sprintf("from %s", f.next)
}

// repeat makes streams until ctx is done, or until one ends with an error that does not
// pass. One of the first streams, one per gateway, must be created.
func repeat(ctx context.Context, gateways int, once func(context.Context) (created bool, err error), mayPass func(err error, created bool) bool, lost func(error)) error {
	const shortest, longest = 100 * time.Millisecond, 5 * time.Second
	ever, wait := false, shortest
	for tries := 1; ; tries++ {
		created, err := once(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var r refused
		if errors.As(err, &r) {
			return r.error
		}
		ever = ever || created
		if !ever && tries < gateways && status.Code(err) == codes.Unavailable {
			continue // the client has left that gateway
		}
		if !ever || !mayPass(err, created) {
			return err
		}
		if created {
			wait = shortest
		}
		lost(err)
		select {
		case <-time.After(max(wait, failure.LimitDelay(err))):
		case <-ctx.Done():
			return ctx.Err()
		}
		wait = min(2*wait, longest)
	}
}

// mayPass reports whether a retry may help. A token that has just expired may have been
// renewed, and another gateway may be behind.
func (f *follower) mayPass(err error, created bool) bool {
	return mayPass(err, created) || status.Code(err) == codes.OutOfRange && f.next > f.From
}

func mayPass(err error, created bool) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Aborted, codes.ResourceExhausted:
		return true
	case codes.Unauthenticated:
		return created
	}
	return false
}

// once watches over one stream, until it ends.
func (f *follower) once(ctx context.Context) (created bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream, err := f.Client.Watch(ctx)
	if err != nil {
		return false, err
	}
	f.state, f.changes = nil, nil
	create := &stelev1.CreateWatch{Id: 1, Keys: f.Keys, Prefixes: f.Prefixes, FromRevision: uint64(f.next), AfterId: f.after, InitialState: f.Initial && f.next == 0}
	if err := stream.Send(&stelev1.WatchRequest{Request: &stelev1.WatchRequest_Create{Create: create}}); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	dog := newWatchdog(cancel)
	defer dog.stop()
	for {
		resp, err := stream.Recv()
		if err = dog.received(err); err != nil {
			return created, err
		}
		created = created || resp.GetCreated() != nil
		if err := f.take(resp); err != nil {
			return created, err
		}
	}
}

func (f *follower) take(resp *stelev1.WatchResponse) error {
	switch e := resp.Event.(type) {
	case *stelev1.WatchResponse_Created:
		if f.next == 0 && !f.Initial {
			f.seen(e.Created.Snapshot.GetRevision(), e.Created.Snapshot.GetId())
		}
	case *stelev1.WatchResponse_State:
		if f.state = append(f.state, e.State.Entries...); e.State.More {
			return nil
		}
		state := f.state
		f.state = nil
		if err := f.State(ledger.Revision(e.State.Revision), state); err != nil {
			return refused{err}
		}
		f.seen(e.State.Revision, e.State.Id)
	case *stelev1.WatchResponse_Commit:
		if f.changes = append(f.changes, e.Commit.Changes...); e.Commit.More {
			return nil
		}
		e.Commit.Changes, f.changes = f.changes, nil
		if err := f.Commit(e.Commit); err != nil {
			return refused{err}
		}
		f.seen(e.Commit.Revision, e.Commit.Id)
	case *stelev1.WatchResponse_Progress:
		if f.Initial && f.next == 0 {
			return nil
		}
		f.seen(e.Progress.Snapshot.GetRevision(), e.Progress.Snapshot.GetId())
	case *stelev1.WatchResponse_Canceled:
		if resume := ledger.Revision(e.Canceled.ResumeRevision); resume > 0 {
			return status.Error(codes.Unavailable, fmt.Sprintf("the watch fell behind; it resumes from %s", max(resume, f.next)))
		}
		return status.ErrorProto(e.Canceled.Status)
	}
	return nil
}

// seen moves on past a commit. A watch that starts in the future gets progress that it has
// not reached yet.
func (f *follower) seen(revision uint64, id []byte) {
	if next := ledger.Revision(revision) + 1; next > f.next || next == f.next && len(f.after) == 0 {
		f.next, f.after = next, id
	}
}
