package gateway

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stelehq/stele/internal/gateway/apierror"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/gateway/redact"
	"github.com/stelehq/stele/internal/gateway/task"
	"github.com/stelehq/stele/internal/gateway/view"
	"github.com/stelehq/stele/internal/gateway/watch"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	// maxScanned is how many commits one call of ListAllCommits reads at most. A call
	// that finds few among many returns a page token instead of taking long.
	maxScanned = 20_000
	// clockError is by how much the clocks of two ledger processes are expected to
	// differ at most.
	clockError = time.Hour
	// recordsAtOnce is how many records of reads one call writes at a time.
	recordsAtOnce = 16
)

// allCommits lists and watches the commits of all tenants.
type allCommits struct{ g *Gateway }

// ListAllCommits returns commits of all tenants, newest first.
func (s allCommits) ListAllCommits(ctx context.Context, req *stelev1.ListAllCommitsRequest) (*stelev1.ListAllCommitsResponse, error) {
	filter, err := newCommitFilter(req)
	if err != nil {
		return nil, err
	}
	filter.reset = s.g.cfg.Replica.LastReset()
	epoch, err := s.epoch()
	if err != nil {
		return nil, err
	}
	seal := s.seal(epoch, req)
	var from place
	var before ledger.Sequence // 0 is the end of the journal
	if req.PageToken != "" {
		var last string
		if from, last, err = parsePlace(req.PageToken, seal); err != nil {
			return nil, err
		}
		if err := s.waitPosition(ctx, from.record); err != nil {
			return nil, err
		}
		switch is, err := s.lastID(from.record); {
		case err != nil:
			return nil, err
		case is != last:
			return nil, fmt.Errorf("%w: position %d has the commit %s, and the page token %s: start again without it", apierror.ErrHistoryChanged, from.record, is, last)
		}
		before = from.record + 1
	}
	page, err := s.newCommitPage(ctx, from, req.OmitValues)
	if err != nil {
		return nil, err
	}
	limit, scanned, more := int(cmp.Or(req.PageSize, defaultCommits)), 0, false
	for rec, err := range s.g.cfg.Replica.RecordsBefore(before, s.g.serves) {
		if err != nil {
			return nil, err
		}
		if !page.moveTo(rec) {
			continue
		}
		if scanned == maxScanned || len(page.commits) == limit || page.full(rec) || ctx.Err() != nil {
			more = true
			break
		}
		scanned++
		c, err := rec.Commit()
		if err != nil {
			return nil, err
		}
		if filter.ends(c) {
			break
		}
		if at := s.g.cfg.Replica.Effective(c); filter.matches(c, at) {
			page.add(rec, c, at)
		}
		page.at.passed++
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.recordCommits(ctx, stelev1.Ledger_ListAllCommits_FullMethodName, page.commits, make(map[ledger.Tenant]bool)); err != nil {
		return nil, err
	}
	resp := &stelev1.ListAllCommitsResponse{Commits: page.commits}
	if more {
		last, err := s.lastID(page.at.record)
		if err != nil {
			return nil, err
		}
		resp.NextPageToken = page.at.token(seal, last)
	}
	return resp, nil
}

// WatchAllCommits sends commits of all tenants until the client or its token goes. It
// reads the replica only after the client has taken the previous response, so a slow
// client delays no other one.
func (s allCommits) WatchAllCommits(req *stelev1.WatchAllCommitsRequest, stream grpc.ServerStreamingServer[stelev1.WatchAllCommitsResponse]) error {
	ctx, r := stream.Context(), s.g.cfg.Replica
	epoch, err := s.epoch()
	switch {
	case err != nil:
		return err
	case len(req.Epoch) > 0 && !bytes.Equal(req.Epoch, epoch[:]):
		return fmt.Errorf("%w: the position is from the ledger %x, and this is the ledger %s", apierror.ErrHistoryChanged, req.Epoch, epoch)
	}
	after := r.Position()
	if req.AfterPosition != nil {
		after = ledger.Sequence(*req.AfterPosition)
		if err := s.waitPosition(ctx, after); err != nil {
			return err
		}
		if last := req.Last; last != nil && s.g.serves(ledger.Tenant(last.Tenant)) {
			if err := s.g.views.Wait(ctx, ledger.Tenant(last.Tenant), view.Seen{Revision: ledger.Revision(last.Revision), ID: last.Id}); err != nil {
				return err
			}
		}
	}
	last, err := s.lastCommit(after)
	if err != nil {
		return err
	}
	s.g.metrics.watchStreams.Inc()
	defer s.g.metrics.watchStreams.Dec()
	recorded := make(map[ledger.Tenant]bool)
	var sent time.Time // when the last response was sent; the first one is sent at once
	for next := (place{record: after + 1}); ; {
		var page *commitPage
		if page, after, err = s.commitsFrom(ctx, next, req.OmitValues); err != nil {
			return err
		}
		if len(page.commits) > 0 || time.Since(sent) >= watch.ProgressInterval {
			if err := s.recordCommits(ctx, stelev1.Ledger_WatchAllCommits_FullMethodName, page.commits, recorded); err != nil {
				return err
			}
			for _, c := range page.commits {
				if c.Position <= uint64(after) {
					last = refOf(c.Info)
				}
			}
			resp := &stelev1.WatchAllCommitsResponse{Commits: page.commits, Position: uint64(after), Epoch: epoch[:], Last: last}
			if p, ok := r.Progress(); ok && !p.Current.IsZero() {
				resp.Age = durationpb.New(time.Since(p.Current))
			}
			if err := stream.Send(resp); err != nil {
				return err
			}
			sent = time.Now()
		}
		next = page.at
		idle, cancel := context.WithDeadline(ctx, sent.Add(watch.ProgressInterval))
		err := r.WaitPosition(idle, next.record)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
	}
}

// lastCommit is the last commit at or before a position; nil if there is none.
func (s allCommits) lastCommit(position ledger.Sequence) (*stelev1.CommitRef, error) {
	for rec, err := range s.g.cfg.Replica.RecordsBefore(position+1, s.g.serves) {
		if err != nil {
			return nil, err
		}
		c, err := rec.Commit()
		if err != nil {
			return nil, err
		}
		return &stelev1.CommitRef{Tenant: string(c.Tenant), Revision: uint64(c.Revision), Id: c.ID[:]}, nil
	}
	return nil, nil
}

// lastID is the short id of lastCommit.
func (s allCommits) lastID(position ledger.Sequence) (string, error) {
	last, err := s.lastCommit(position)
	if last == nil {
		return "", err
	}
	return fmt.Sprintf("%x", last.Id[:view.ShortID]), err
}

func refOf(c *stelev1.CommitInfo) *stelev1.CommitRef {
	return &stelev1.CommitRef{Tenant: c.Commit.Tenant, Revision: c.Commit.Revision, Id: c.Id}
}

// commitsFrom reads the commits of one response of a watch. It also returns the position
// up to which everything is sent once the response is sent.
func (s allCommits) commitsFrom(ctx context.Context, from place, omitValues bool) (page *commitPage, position ledger.Sequence, err error) {
	if page, err = s.newCommitPage(ctx, from, omitValues); err != nil {
		return nil, 0, err
	}
	more := false
	records := s.g.cfg.Replica.Records(from.record-1, s.g.serves)
	for rec, err := range records.All() {
		if err != nil {
			return nil, 0, err
		}
		if !page.moveTo(rec) {
			continue
		}
		if more = page.full(rec); more {
			break
		}
		c, err := rec.Commit()
		if err != nil {
			return nil, 0, err
		}
		page.add(rec, c, s.g.cfg.Replica.Effective(c))
		page.at.passed++
	}
	if !more {
		page.at = place{record: records.Position() + 1}
	}
	return page, records.Position(), nil
}

// epoch is the identity of the ledger that the replica is of.
func (s allCommits) epoch() (ledger.Epoch, error) {
	epoch := s.g.cfg.Replica.Epoch()
	if epoch == (ledger.Epoch{}) || !s.g.cfg.Replica.Ready() {
		return epoch, fmt.Errorf("%w: this gateway's replica is being built; try again, or another gateway", ledger.ErrUnavailable)
	}
	return epoch, nil
}

// waitPosition waits until the replica holds a position that another response named. The
// error is apierror.ErrHistoryChanged if the journal ends before it, and errBehind if the position
// does not come in time.
func (s allCommits) waitPosition(ctx context.Context, position ledger.Sequence) error {
	const step = 100 * time.Millisecond
	for begun := time.Now(); ; {
		bounded, cancel := context.WithTimeout(ctx, step)
		err := s.g.cfg.Replica.WaitPosition(bounded, position)
		cancel()
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		p, _ := s.g.cfg.Replica.Progress()
		switch {
		case p.Current.After(begun) && p.Last < position: // the journal was asked since
			return fmt.Errorf("%w: position %d is after the end of the journal, which is at %d", apierror.ErrHistoryChanged, position, p.Last)
		case time.Since(begun) > view.BehindTimeout:
			return fmt.Errorf("%w: it is at position %d and has waited for %d; try again, or another gateway", apierror.ErrBehind, p.Position, position)
		}
	}
}

// recordCommits records for each tenant in commits, unless it is in recorded already,
// that the caller reads its history. Nothing may be sent if it fails.
func (s allCommits) recordCommits(ctx context.Context, method string, commits []*stelev1.PlacedCommit, recorded map[ledger.Tenant]bool) error {
	group, ctx := task.WithContext(ctx)
	group.SetLimit(recordsAtOnce)
	for _, placed := range commits {
		c := placed.Info.Commit
		if t := ledger.Tenant(c.Tenant); !recorded[t] {
			recorded[t] = true
			group.Go(func() error {
				return s.g.policy.Record(ctx, policy.CallerOf(ctx), policy.Methods[method], t, policy.Asked{Prefixes: []string{""}}, c.Revision)
			})
		}
	}
	return group.Wait()
}

// place is how far a reader of the journal is: at a record, of which it has passed some
// commits. All readers of a record get its commits in the same order.
type place struct {
	record ledger.Sequence
	passed int
}

// seal binds page tokens to the ledger, to the tenants of this gateway and to what a
// request selects.
func (s allCommits) seal(epoch ledger.Epoch, req *stelev1.ListAllCommitsRequest) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %q %q %q %s %s", epoch, s.g.cfg.Tenants, req.Author, req.Grep, req.Since.AsTime(), req.Until.AsTime()))
	return fmt.Sprintf("%x", sum[:8])
}

// token is p as a page token. last is lastID of the record.
func (p place) token(seal, last string) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d,%d:%s:%s", p.record, p.passed, seal, last))
}

// parsePlace reads a page token with this seal.
func parsePlace(token, seal string) (p place, last string, err error) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return p, "", view.ErrPageToken
	}
	numbers, rest, _ := strings.Cut(string(b), ":")
	sealed, last, _ := strings.Cut(rest, ":")
	if _, err := fmt.Sscanf(numbers, "%d,%d", &p.record, &p.passed); err != nil || sealed != seal || p.record == 0 || p.passed < 0 {
		return p, "", view.ErrPageToken
	}
	return p, last, nil
}

// commitPage collects the commits of one response.
type commitPage struct {
	redact     redact.Redactor
	omitValues bool
	from       place // where the reader was before
	at         place // where it is now
	skipped    int   // commits of the record from that it has passed before
	size       int   // of the commits, in bytes
	commits    []*stelev1.PlacedCommit
}

func (s allCommits) newCommitPage(ctx context.Context, from place, omitValues bool) (*commitPage, error) {
	redact, err := s.g.redaction.For(ctx, false)
	return &commitPage{redact: redact, omitValues: omitValues, from: from, at: from}, err
}

// moveTo moves to a commit, and reports whether the reader has not passed it before.
func (p *commitPage) moveTo(rec replica.Recorded) bool {
	if rec.Sequence == p.from.record && p.skipped < p.from.passed {
		p.skipped++
		return false
	}
	if rec.Sequence != p.at.record {
		p.at = place{record: rec.Sequence}
	}
	return true
}

// full reports whether there is no room for a commit. A page has room for at least one.
func (p *commitPage) full(rec replica.Recorded) bool {
	return p.size > 0 && p.size+len(rec.Encoded) > view.MaxPageBytes
}

func (p *commitPage) add(rec replica.Recorded, c *ledger.Commit, effective time.Time) {
	shown := p.redact.Commit(c).Proto()
	if p.omitValues {
		for _, ch := range shown.Changes {
			ch.Value = ""
		}
	}
	placed := &stelev1.PlacedCommit{Position: uint64(rec.Sequence), Info: &stelev1.CommitInfo{Id: c.ID[:], Commit: shown, EffectiveTime: effectiveTime(c, effective)}}
	p.size += proto.Size(placed)
	p.commits = append(p.commits, placed)
}

// commitFilter selects commits of all tenants. Its texts are in lower case.
type commitFilter struct {
	author, grep string
	since, until time.Time // zero for no bound
	// reset is when a tenant's clock was last reset: commits that were ahead count as made at
	// that time, and can be anywhere in the journal before it.
	reset time.Time
}

func newCommitFilter(req *stelev1.ListAllCommitsRequest) (f commitFilter, err error) {
	f = commitFilter{author: strings.ToLower(req.Author), grep: strings.ToLower(req.Grep)}
	if req.Since != nil {
		if f.since, err = view.Time(req.Since, "since"); err != nil {
			return f, err
		}
	}
	if req.Until != nil {
		if f.until, err = view.Time(req.Until, "until"); err != nil {
			return f, err
		}
		if f.until.Before(f.since) {
			return f, ledger.Invalid("since", "it is later than until: the range is empty")
		}
	}
	return f, nil
}

func (f commitFilter) matches(c *ledger.Commit, at time.Time) bool {
	return !at.Before(f.since) && (f.until.IsZero() || !at.After(f.until)) &&
		strings.Contains(strings.ToLower(c.Author), f.author) && strings.Contains(strings.ToLower(c.Message), f.grep)
}

// ends reports whether no commit before this one in the journal can match: none was
// stored later than this one, apart from what clocks differ, and a commit's time is not
// later than when it was stored.
func (f commitFilter) ends(c *ledger.Commit) bool {
	if !f.reset.Before(f.since) {
		return false
	}
	stored := c.Time
	if in, ok := c.Origin.(*ledger.ImportOrigin); ok {
		stored = in.Recorded
	}
	return stored.Before(f.since.Add(-clockError))
}
