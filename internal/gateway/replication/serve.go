package replication

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/durationpb"
)

// A message ends after so many commits or bytes.
const (
	maxBatchCommits = 1000
	maxBatchBytes   = 1 << 20
)

// maxWait is how long a stream without new commits and polls waits until it looks
// whether the replica's file was rebuilt. recheckInterval is the time between two calls
// of Recheck.
const (
	maxWait         = time.Second
	recheckInterval = time.Second
)

// Server sends a replica's commits to edges.
type Server struct {
	Replica *replica.Replica
	// Path is the gateways from this one up to the one that follows the journal.
	Path func() Path
	// Recheck, when set, is called about once a second; its error ends the stream.
	Recheck func() error
}

// feed is one edge's stream. One goroutine owns it.
type feed struct {
	Server
	send   func(*stelev1.FollowResponse) error
	wanted map[ledger.Tenant]bool // nil for all
	// bases are those of the wanted tenants, which are sent as well.
	bases map[ledger.Tenant]bool
	// sent is the newest revision that each tenant's edge has.
	sent map[ledger.Tenant]ledger.Revision
	// position is up to where every record was sent, while the replica's Disordered is
	// that number.
	position   ledger.Sequence
	disordered uint64
	checked    time.Time // when Recheck was called

	batch []*stelev1.ReplicatedCommit
	bytes int
}

// Follow sends the commits that the edge lacks of the tenants, none for all, and then
// new ones, until ctx ends. It answers each poll.
//
// Errors: ErrHistoryChanged, ErrPruned, and ledger.ErrUnavailable if the replica is
// behind the edge or is being built.
func (s Server) Follow(ctx context.Context, tenants []ledger.Tenant, start *stelev1.FollowStart, polls <-chan uint64, send func(*stelev1.FollowResponse) error) error {
	if !s.Replica.Ready() {
		return fmt.Errorf("%w: the upstream is still catching up", ledger.ErrUnavailable)
	}
	f := &feed{Server: s, send: send, wanted: held(tenants), sent: make(map[ledger.Tenant]ledger.Revision), bases: make(map[ledger.Tenant]bool)}
	f.findAllBases()
	epoch := s.Replica.Epoch()
	if len(start.Epoch) > 0 && string(start.Epoch) != string(epoch[:]) {
		return fmt.Errorf("%w: it has commits of the ledger %x, and this is %s", ErrHistoryChanged, start.Epoch, epoch)
	}
	if err := pruned(f.compare(start.Have)); err != nil {
		return err
	}
	if err := send(&stelev1.FollowResponse{Event: &stelev1.FollowResponse_Welcome{Welcome: &stelev1.FollowWelcome{Epoch: epoch[:], Path: s.Path()}}}); err != nil {
		return err
	}
	if err := f.backlog(ctx); err != nil {
		return pruned(err)
	}
	return pruned(f.live(ctx, polls))
}

// pruned makes the error about history that this gateway does not keep ErrPruned.
func pruned(err error) error {
	var notKept *ledger.HistoryError
	if errors.As(err, &notKept) {
		return fmt.Errorf("%w: %w", ErrPruned, err)
	}
	return err
}

func (f *feed) wants(t ledger.Tenant) bool { return f.wanted == nil || f.wanted[t] || f.bases[t] }

// findAllBases adds the bases of the wanted tenants.
func (f *feed) findAllBases() {
	for t := range f.wanted {
		f.findBases(t)
	}
}

// findBases adds the bases of a wanted tenant, and reports whether there are new ones. A base
// that was once added stays, because earlier states of a tenant may name it.
func (f *feed) findBases(t ledger.Tenant) (found bool) {
	for _, b := range f.Replica.Bases(t) {
		found = found || !f.bases[b.Tenant]
		f.bases[b.Tenant] = true
	}
	return found
}

// compare checks that the edge's commits are a part of the replica's, and that the
// replica keeps all commits that the edge lacks.
func (f *feed) compare(have []*stelev1.ReplicatedHead) error {
	if err := f.compareHeads(have); err != nil {
		return err
	}
	heads, _ := f.Replica.AllHeads()
	for _, h := range heads {
		if !f.wants(h.Tenant) || f.sent[h.Tenant] >= h.Head.Revision {
			continue
		}
		v, err := f.Replica.View(h.Tenant, replica.At{})
		if err != nil {
			return err
		}
		err = v.CheckKept(f.sent[h.Tenant] + 1)
		v.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *feed) compareHeads(have []*stelev1.ReplicatedHead) error {
	for _, h := range have {
		t, rev := ledger.Tenant(h.Tenant), ledger.Revision(h.Revision)
		if !f.wants(t) || rev == 0 {
			continue
		}
		head := f.Replica.Head(t)
		if rev > head.Revision {
			return fmt.Errorf("%w: the edge has %s%s, and this gateway only %s", ErrBehind, t, rev, head.Revision)
		}
		id := head.ID
		if rev < head.Revision {
			v, err := f.Replica.View(t, replica.At{})
			if err != nil {
				return err
			}
			id, err = idAt(v, rev)
			v.Close()
			if err != nil {
				return err
			}
		}
		if string(h.Id) != string(id[:]) {
			return fmt.Errorf("%w: its %s%s is %x, and here it is %s", ErrHistoryChanged, t, rev, h.Id, id)
		}
		f.sent[t] = rev
	}
	return nil
}

// idAt is a commit's id. The next commit contains it as well, so the id of the last
// commit before the kept history is known.
func idAt(v *replica.View, rev ledger.Revision) (ledger.CommitID, error) {
	if err := v.CheckKept(rev + 1); err != nil {
		return ledger.CommitID{}, err
	}
	next, err := v.Commit(rev + 1)
	if err != nil {
		return ledger.CommitID{}, err
	}
	return next.Parent, nil
}

// backlog sends the commits that the edge lacks, tenant by tenant: it finds them by
// revision, without a scan of other tenants' records.
func (f *feed) backlog(ctx context.Context) error {
	f.disordered = f.Replica.Disordered()
	heads, position := f.Replica.AllHeads()
	f.findAllBases()
	slices.SortStableFunc(heads, func(a, b replica.TenantHead) int { return cmp.Compare(f.rank(a.Tenant), f.rank(b.Tenant)) })
	for _, h := range heads {
		if !f.wants(h.Tenant) || f.sent[h.Tenant] >= h.Head.Revision {
			continue
		}
		for r, err := range f.Replica.TenantRecords(h.Tenant, f.sent[h.Tenant]) {
			if err != nil {
				return err
			}
			if err := f.add(r); err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
	f.position = position
	return f.flush()
}

// rank orders the tenants of a backlog. The commits of a base come before the pins that move to
// them. A base that the edge does not have yet comes after the list that names it, because
// the edge accepts no other tenant.
func (f *feed) rank(t ledger.Tenant) int {
	switch {
	case f.wanted == nil && f.Replica.IsBase(t), f.bases[t] && f.sent[t] > 0:
		return 0
	case f.bases[t] && !f.wanted[t]:
		return 2
	}
	return 1
}

// live sends records as they become visible.
func (f *feed) live(ctx context.Context, polls <-chan uint64) error {
	var poll uint64
	for {
		// The report is read first: everything up to its position is sent by then.
		progress := f.progress(poll)
		sent, err := f.records(ctx)
		if err != nil {
			return err
		}
		if sent || poll != 0 {
			if err := f.send(&stelev1.FollowResponse{Event: &stelev1.FollowResponse_Progress{Progress: progress}}); err != nil {
				return err
			}
		}
		poll = 0
		select {
		case <-f.Replica.Moved(f.position):
		case poll = <-polls:
		case <-time.After(maxWait):
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := f.recheck(); err != nil {
			return err
		}
	}
}

// records sends the records after the position, and reports whether there were any. A
// replica that is an edge itself may get commits late, when it changes its upstream:
// then they are found by revision.
func (f *feed) records(ctx context.Context) (sent bool, err error) {
	if f.Replica.Disordered() != f.disordered {
		return true, f.backlog(ctx)
	}
	missed, attached := false, false
	records := f.Replica.Records(f.position, f.wants)
	for r, err := range records.All() {
		if err != nil {
			return sent, err
		}
		last := f.sent[r.Tenant]
		if r.Revision <= last {
			continue
		}
		if missed = r.Revision > last+1; missed {
			break
		}
		sent = true
		if err := f.add(r); err != nil {
			return sent, err
		}
		attached = f.wanted[r.Tenant] && f.findBases(r.Tenant) || attached
	}
	if missed || attached {
		return true, f.backlog(ctx)
	}
	f.position = records.Position()
	return sent, f.flush()
}

// recheck ends the stream of an edge that has lost its permission.
func (f *feed) recheck() error {
	if f.Recheck == nil || time.Since(f.checked) < recheckInterval {
		return nil
	}
	f.checked = time.Now()
	return f.Recheck()
}

// progress answers a poll; 0 is for none.
func (f *feed) progress(poll uint64) *stelev1.FollowProgress {
	p, _ := f.Replica.Progress()
	out := &stelev1.FollowProgress{Id: poll, Position: uint64(p.Position), LastPosition: uint64(p.Last), Path: f.Path()}
	if !p.Current.IsZero() {
		out.Age = durationpb.New(time.Since(p.Current))
	}
	if err := f.Replica.Stopped(); err != nil {
		out.Stopped = err.Error()
	}
	return out
}

func (f *feed) add(r replica.Recorded) error {
	f.sent[r.Tenant] = r.Revision
	f.batch = append(f.batch, &stelev1.ReplicatedCommit{Position: uint64(r.Sequence), Commit: r.Encoded})
	if f.bytes += len(r.Encoded); f.bytes >= maxBatchBytes || len(f.batch) >= maxBatchCommits {
		return f.flush()
	}
	return nil
}

func (f *feed) flush() error {
	if len(f.batch) == 0 {
		return nil
	}
	if err := f.recheck(); err != nil {
		return err
	}
	err := f.send(&stelev1.FollowResponse{Event: &stelev1.FollowResponse_Commits{Commits: &stelev1.FollowCommits{Commits: f.batch}}})
	f.batch, f.bytes = nil, 0
	return err
}
