package gateway

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stelehq/stele/internal/gateway/apierror"
	"github.com/stelehq/stele/internal/gateway/conn"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/gateway/redact"
	"github.com/stelehq/stele/internal/gateway/view"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// GetCommit returns one commit, as much of it as the caller may see.
func (s ledgerService) GetCommit(ctx context.Context, req *stelev1.GetCommitRequest) (*stelev1.GetCommitResponse, error) {
	var at replica.At
	if by, ok := req.Commit.(*stelev1.GetCommitRequest_Time); ok {
		var err error
		if at.Time, err = view.Time(by.Time, "time"); err != nil {
			return nil, err
		}
	}
	v, err := s.g.views.Open(ctx, at, view.SeenBy(req))
	if err != nil {
		return nil, err
	}
	defer v.Close()
	rev := v.State().Revision
	switch by := req.Commit.(type) {
	case *stelev1.GetCommitRequest_Revision:
		rev = ledger.Revision(by.Revision)
	case *stelev1.GetCommitRequest_Id:
		if rev, err = v.FindID(by.Id); err != nil {
			return nil, err
		}
	}
	c, err := v.Commit(rev)
	if err != nil {
		return nil, err
	}
	sees, err := s.g.policy.Scope(policy.CallerOf(ctx), policy.ToRead)
	if err != nil {
		return nil, err
	}
	redact, err := s.g.redaction.For(ctx, false)
	if err != nil {
		return nil, err
	}
	changes, _ := sees.Pick(c.Changes)
	if len(changes) == 0 && !sees.Everywhere() {
		return nil, policy.Denied("%s%s changed only keys that %s may not read", c.Tenant, c.Revision, policy.CallerOf(ctx).Subject)
	}
	info, err := infoOf(v, c, sees, redact, changes, req.PreviousValues, req.Encoded)
	if err != nil {
		return nil, err
	}
	return &stelev1.GetCommitResponse{Info: info, Snapshot: view.SnapshotOf(v)}, nil
}

// infoOf is a commit with some of its changes, and the requested fields. Fields that
// may reveal changes which the caller may not see are left out.
func infoOf(v *replica.View, c *ledger.Commit, sees policy.Scope, redact redact.Redactor, changes []ledger.Change, previous, encoded bool) (*stelev1.CommitInfo, error) {
	shown, whole := sees.Commit(c)
	shown.Changes = redact.Changes(changes)
	info := &stelev1.CommitInfo{Id: c.ID[:], Commit: shown.Proto(), Partial: !whole, EffectiveTime: effectiveTime(c, v.Effective(c.Revision, c.Time))}
	if encoded && whole {
		info.Encoded = c.Encoded
	}
	if !previous {
		return info, nil
	}
	info.PreviousValues = make([]string, len(changes))
	size := 0
	for i, ch := range changes {
		if ch.Previous == 0 && !v.Inherits() {
			continue
		}
		was, err := v.Version(ch.Key, c.Revision-1)
		if err != nil {
			return nil, err
		}
		shown := redact.Hide(ch.Key, was.Value)
		if size += len(shown); size > conn.MaxMessage { // a commit can delete more than it could set
			return nil, fmt.Errorf("%w: the values that %s%s replaced have more than %d bytes: read its keys at %s", apierror.ErrTooLarge, c.Tenant, c.Revision, conn.MaxMessage, c.Revision-1)
		}
		info.PreviousValues[i] = string(shown)
	}
	return info, nil
}

// effectiveTime is the field that says that a commit is found by another time than its own.
func effectiveTime(c *ledger.Commit, at time.Time) *timestamppb.Timestamp {
	if at.Equal(c.Time) {
		return nil
	}
	return timestamppb.New(at)
}

const defaultCommits = 50

// ListCommits returns the commits that the request selects, newest first. A page
// that took long to find may be short, or empty, and still not be the last.
func (s ledgerService) ListCommits(ctx context.Context, req *stelev1.ListCommitsRequest) (*stelev1.ListCommitsResponse, error) {
	v, err := s.g.views.Open(ctx, replica.At{}, view.SeenBy(req))
	if err != nil {
		return nil, err
	}
	defer v.Close()
	redact, err := s.g.redaction.For(ctx, false)
	if err != nil {
		return nil, err
	}
	sees, err := s.g.policy.Scope(policy.CallerOf(ctx), policy.ToRead)
	if err != nil {
		return nil, err
	}
	q, err := s.queryOf(ctx, v, req, sees)
	if err != nil {
		return nil, err
	}
	limit := int(cmp.Or(req.PageSize, defaultCommits))
	resp := &stelev1.ListCommitsResponse{Snapshot: view.SnapshotOf(v)}
	size := 0
	log := v.Log(q)
	for c, err := range log.All() {
		if err != nil {
			return nil, err
		}
		if len(resp.Commits) == limit {
			break
		}
		asked := func(ch ledger.Change) bool { return log.Match(c.Revision, ch) }
		changes, _ := sees.Pick(c.Changes)
		// A commit without changes resets the clock: it is shown to callers that see everything.
		if !slices.ContainsFunc(changes, asked) && (len(c.Changes) > 0 || len(q.Names) > 0 || !sees.Everywhere()) {
			continue
		}
		if q.Grep != "" || q.PromotedFrom != "" {
			if _, whole := sees.Commit(c); !whole { // a match of what is hidden would reveal it
				continue
			}
		}
		if req.OnlyMatchingChanges {
			changes = slices.DeleteFunc(slices.Clone(changes), func(ch ledger.Change) bool { return !asked(ch) })
		}
		n := listed(redact.Changes(changes), req.OmitValues) // of what is shown: it says nothing about a secret's length
		info, err := infoOf(v, c, sees, redact, changes[:n], req.PreviousValues, req.Encoded)
		if err != nil {
			return nil, err
		}
		info.MoreChanges = n < len(changes)
		if req.OmitValues {
			for _, ch := range info.Commit.Changes {
				ch.Value = ""
			}
		}
		if size += proto.Size(info); size > view.MaxPageBytes && len(resp.Commits) > 0 {
			break // the next page begins with it: a large commit is alone on its page
		}
		resp.Commits = append(resp.Commits, info)
	}
	if req.OnlyMatchingChanges && !req.Encoded { // else a read of all keys is recorded
		if err := s.recordNames(ctx, stelev1.Ledger_ListCommits_FullMethodName, log.Earlier(), resp.Snapshot.Revision); err != nil {
			return nil, err
		}
	}
	if next := log.Next(); next > 0 {
		token, err := view.NewPageToken(v, 0, next, "")
		resp.NextPageToken = token + namesToken(log.Earlier())
		return resp, err
	}
	// Earlier commits may match, and are not kept here.
	start, err := historyStart(v)
	if start != nil && uint64(q.To) < start.Revision {
		resp.HistoryStart = start
	}
	return resp, err
}

// listed is how many of a commit's changes a page lists: as many as a change set can have. Only
// a commit that changes inherited values has more.
func listed(changes []ledger.Change, omitValues bool) int {
	if omitValues {
		changes = slices.Clone(changes)
		for i := range changes {
			changes[i].Value = ""
		}
	}
	return ledger.Fitting(changes)
}

// historyStart is where the history that this gateway keeps of the tenant begins; nil if
// it keeps all.
func historyStart(v *replica.View) (*stelev1.HistoryStart, error) {
	rev, at, ok, err := v.HistoryStart()
	if err != nil || !ok {
		return nil, err
	}
	return &stelev1.HistoryStart{Revision: uint64(rev), Time: timestamppb.New(at)}, nil
}

// recordNames records that the answer also depends on keys that the request does not name.
func (s ledgerService) recordNames(ctx context.Context, method string, names []ledger.Name, rev uint64) error {
	var asked policy.Asked
	for _, n := range names {
		if n.IsKey() {
			asked.Keys = append(asked.Keys, string(n))
		} else {
			asked.Prefixes = append(asked.Prefixes, string(n))
		}
	}
	if asked.Nothing() {
		return nil
	}
	c := policy.CallerOf(ctx)
	return s.g.policy.Record(ctx, c, policy.Methods[method], c.Tenant, asked, rev)
}

// namesToken is the end of a page token with the earlier names that a log has followed.
func namesToken(names []ledger.Name) string {
	if len(names) == 0 {
		return ""
	}
	texts := make([]string, len(names))
	for i, n := range names {
		texts[i] = string(n)
	}
	return "." + base64.RawURLEncoding.EncodeToString([]byte(strings.Join(texts, "\n")))
}

// parseNamesToken parses the names, and keeps those that the caller may read.
func parseNamesToken(token string, reads func(ledger.Name) bool) ([]ledger.Name, error) {
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return nil, view.ErrPageToken
	}
	var names []ledger.Name
	for _, n := range strings.Split(string(text), "\n") {
		if _, err := ledger.ParsePattern(n); err != nil || n == "" {
			return nil, view.ErrPageToken
		}
		if reads(ledger.Name(n)) {
			names = append(names, ledger.Name(n))
		}
	}
	return names, nil
}

// queryOf reads the selection of the request.
func (s ledgerService) queryOf(ctx context.Context, v *replica.View, req *stelev1.ListCommitsRequest, sees policy.Scope) (q replica.Query, err error) {
	q = replica.Query{Author: req.Author, Grep: req.Grep, PromotedFrom: ledger.Tenant(req.PromotedFrom)}
	if !req.NoFollow {
		q.Follow = sees.Name
	}
	switch by := req.Keys.(type) {
	case *stelev1.ListCommitsRequest_Key:
		key, err := ledger.ParseKey(by.Key)
		if err != nil {
			return q, ledger.Invalid("key", err.Error())
		}
		q.Names = []ledger.Name{ledger.Name(key)}
	case *stelev1.ListCommitsRequest_Prefix:
		pattern, err := ledger.ParsePattern(by.Prefix)
		if err != nil {
			return q, ledger.Invalid("prefix", err.Error())
		}
		q.Names = pattern.Names()
	}
	if q.From, err = view.RevisionOf(v, req.Until, "until"); err != nil {
		return q, err
	}
	if by, ok := req.Since.GetPoint().(*stelev1.At_Time); ok {
		at, err := view.Time(by.Time, "since.time")
		if err != nil {
			return q, err
		}
		if q.To, err = v.Since(at); err != nil {
			return q, err
		}
	} else if req.Since != nil {
		if q.To, err = view.RevisionOf(v, req.Since, "since"); err != nil {
			return q, err
		}
	}
	if q.To > q.From && req.Since != nil && req.Until != nil {
		return q, ledger.Invalid("since", "it is later than until: the range is empty")
	}
	if req.PageToken != "" {
		page, names, followed := strings.Cut(req.PageToken, ".")
		token, err := view.ParsePageToken(page)
		if err != nil {
			return q, err
		}
		if followed && q.Follow != nil && len(q.Names) > 0 {
			if q.Earlier, err = parseNamesToken(names, q.Follow); err != nil {
				return q, err
			}
		}
		if err := s.g.views.SameHistory(ctx, token); err != nil {
			return q, err
		}
		q.From = min(q.From, token.To.Revision)
	}
	return q, nil
}

// Diff returns the keys that differ between two states.
func (s ledgerService) Diff(ctx context.Context, req *stelev1.DiffRequest) (*stelev1.DiffResponse, error) {
	pattern, err := ledger.ParsePattern(req.Prefix)
	if err != nil {
		return nil, ledger.Invalid("prefix", err.Error())
	}
	v, err := s.g.views.Open(ctx, replica.At{}, view.SeenBy(req))
	if err != nil {
		return nil, err
	}
	defer v.Close()
	redact, err := s.g.redaction.For(ctx, false)
	if err != nil {
		return nil, err
	}
	at, err := s.rangeOf(ctx, v, req)
	if err != nil {
		return nil, err
	}
	limit := int(cmp.Or(req.PageSize, view.DefaultPage))
	resp := &stelev1.DiffResponse{FromRevision: uint64(at.From.Revision), ToRevision: uint64(at.To.Revision), Snapshot: view.SnapshotOf(v)}
	size := 0
	for d, err := range v.Diff(at.From.Revision, at.To.Revision, pattern.Range(), at.Key) {
		if err != nil {
			return nil, err
		}
		if !pattern.Match(d.Key) {
			continue
		}
		if len(resp.Diffs) == limit || size > view.MaxPageBytes {
			resp.NextPageToken, err = view.NewPageToken(v, at.From.Revision, at.To.Revision, d.Key)
			return resp, err
		}
		shown := &stelev1.KeyDiff{
			Key:       string(d.Key),
			FromValue: string(redact.Hide(d.Key, d.From.Value)), FromRevision: uint64(d.From.Revision),
			ToValue: string(redact.Hide(d.Key, d.To.Value)), ToRevision: uint64(d.To.Revision),
			FromBase: d.From.Base.Proto(), ToBase: d.To.Base.Proto(),
		}
		size += len(shown.Key) + len(shown.FromValue) + len(shown.ToValue)
		resp.Diffs = append(resp.Diffs, shown)
	}
	return resp, nil
}

// rangeOf reads the two states of a diff, or those that its first page was of.
func (s ledgerService) rangeOf(ctx context.Context, v *replica.View, req *stelev1.DiffRequest) (t view.PageToken, err error) {
	if req.PageToken != "" {
		if t, err = view.ParsePageToken(req.PageToken); err == nil {
			err = s.g.views.SameHistory(ctx, t)
		}
		return t, err
	}
	from, err := view.RevisionOf(v, req.From, "from")
	if err != nil {
		return view.PageToken{}, err
	}
	to, err := view.RevisionOf(v, req.To, "to")
	switch {
	case err != nil:
		return view.PageToken{}, err
	case from > to:
		return view.PageToken{}, ledger.Invalid("from", fmt.Sprintf("%s is later than %s: name the older state first", from, to))
	}
	return view.PageToken{From: view.Seen{Revision: from}, To: view.Seen{Revision: to}}, nil
}

// Blame returns the commit that last set each key.
func (s ledgerService) Blame(ctx context.Context, req *stelev1.BlameRequest) (*stelev1.BlameResponse, error) {
	pattern, err := ledger.ParsePattern(req.Prefix)
	if err != nil {
		return nil, ledger.Invalid("prefix", err.Error())
	}
	v, from, err := s.g.views.Page(ctx, req)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	sees, err := s.g.policy.Scope(policy.CallerOf(ctx), policy.ToRead)
	if err != nil {
		return nil, err
	}
	limit := int(cmp.Or(req.PageSize, view.DefaultPage))
	resp := &stelev1.BlameResponse{Snapshot: view.SnapshotOf(v)}
	copied := make(map[ledger.Name]bool)
	for e, err := range v.List(pattern.Range(), from) {
		if err != nil {
			return nil, err
		}
		if !pattern.Match(e.Key) {
			continue
		}
		if len(resp.Entries) == limit {
			if resp.NextPageToken, err = view.NewPageToken(v, 0, v.State().Revision, e.Key); err != nil {
				return nil, err
			}
			break
		}
		c, id, err := summaryOf(v, e, sees)
		if err != nil {
			return nil, err
		}
		entry := &stelev1.BlameEntry{
			Key: string(e.Key), Revision: uint64(e.Revision), CommitId: id[:], Time: timestamppb.New(c.Time), Author: c.Author, Message: c.Message, Base: e.Base.Proto(), Origin: ledger.OriginProto(c.Origin),
		}
		if entry.Source, err = sourceOf(v, ledger.Name(e.Key), c, sees); err != nil {
			return nil, err
		}
		if entry.Source != nil {
			copied[c.Origin.(*ledger.CopyOrigin).From] = true
		}
		resp.Entries = append(resp.Entries, entry)
	}
	if err := s.recordNames(ctx, stelev1.Ledger_Blame_FullMethodName, slices.Sorted(maps.Keys(copied)), resp.Snapshot.Revision); err != nil {
		return nil, err
	}
	return resp, nil
}

// maxCopies bounds how many copies of a key a blame follows.
const maxCopies = 100

// sourceOf is the commit that set a value before the commit c and others copied it; nil if c
// has set it itself.
func sourceOf(v *replica.View, n ledger.Name, c ledger.Summary, sees policy.Scope) (source *stelev1.CopySource, err error) {
	for range maxCopies {
		o, copied := c.Origin.(*ledger.CopyOrigin)
		if !copied {
			break
		}
		if n = o.Earlier(n); n == "" || !sees.Name(n) {
			break
		}
		was, err := v.Version(ledger.Key(n), c.Revision-1)
		if err == nil && (was.Value == "" || was.Base.Inherited()) {
			break
		}
		var id ledger.CommitID
		if err == nil {
			c, id, err = summaryOf(v, replica.Entry{Revision: was.Revision}, sees)
		}
		var notKept *ledger.HistoryError
		if errors.As(err, &notKept) {
			break
		}
		if err != nil {
			return nil, err
		}
		source = &stelev1.CopySource{Key: string(n), Revision: uint64(was.Revision), CommitId: id[:], Time: timestamppb.New(c.Time), Author: c.Author, Message: c.Message}
	}
	return source, nil
}

// summaryOf is the commit that set an entry, without its changes, and without its message
// if the caller may not see all of them.
func summaryOf(v *replica.View, e replica.Entry, sees policy.Scope) (ledger.Summary, ledger.CommitID, error) {
	if sees.Everywhere() || e.Base.Inherited() {
		c, id, err := v.SummaryOf(e)
		if !sees.Everywhere() {
			c.Message, c.Origin = "", nil
		}
		return c, id, err
	}
	c, err := v.Commit(e.Revision)
	if err != nil {
		return ledger.Summary{}, ledger.CommitID{}, err
	}
	shown, _ := sees.Commit(c)
	return shown.Summary(), c.ID, nil
}
