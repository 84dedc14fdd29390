package policy

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// ReadLog stores the recorded reads, as a stream of messages per tenant.
type ReadLog interface {
	// Append returns when the record is durable.
	Append(ctx context.Context, tenant string, record []byte) (ledger.Sequence, error)
	// ScanBack yields the tenant's records, newest first: those below a sequence or, if that
	// is 0, those before a time. An error is the last that it yields.
	ScanBack(ctx context.Context, tenant string, before ledger.Sequence, until time.Time) iter.Seq2[journal.Message, error]
}

// ErrNotRecorded: a call is refused, because it could not be recorded.
var ErrNotRecorded = errors.New("this call must be recorded")

// Asked lists the keys and prefixes that an answer depends on, by their values or by whether
// they are set.
type Asked struct {
	Keys     []string
	Prefixes []string
	// Revealed is set if the request asked to reveal secrets.
	Revealed bool
}

// asked lists the keys and prefixes that a request reads.
func (m *Method) asked(req proto.Message) Asked {
	var k Keys
	switch m.Records {
	case RecordsReads:
		k = m.touches(req).Reads
	case RecordsOther:
		k = m.touches(req).Recorded
	case RecordsEverything:
		k = everyKey
	}
	return Asked{Keys: k.list(), Prefixes: k.Prefixes, Revealed: reveals(req)}
}

// Under returns the part that selects keys under one of the prefixes.
func (a Asked) Under(record Scope) Asked {
	var out Asked
	for _, k := range a.Keys {
		if record.Key(ledger.Key(k)) {
			out.Keys = append(out.Keys, k)
		}
	}
	for _, q := range a.Prefixes {
		if len(record.Within([]ledger.Pattern{ledger.Pattern(q)})) > 0 {
			out.Prefixes = append(out.Prefixes, q)
		}
	}
	return out
}

// Nothing reports whether it names no key and no prefix.
func (a Asked) Nothing() bool { return len(a.Keys)+len(a.Prefixes) == 0 }

// RecordRead records a read durably if the tenant's policy requires it, if the read reveals
// secrets, or if the caller is an operator who acts for the tenant. Other calls of such an
// operator are recorded as well, except calls that make a commit, which is the record.
//
// Call it after the answer was built and before it is sent. If it fails, only its error may be
// answered. A failed read is also recorded, with revision 0, because the answer that a key is
// not set is information.
func (e *Enforcer) RecordRead(ctx context.Context, c Caller, m *Method, req, answer proto.Message) error {
	prefixes, err := e.Recorded(c, c.Tenant)
	if err == nil && len(prefixes) == 0 && !reveals(req) || committed(answer) || m.Records == RecordedByHandler {
		return nil // before the request is looked at, which most calls need not pay for
	}
	return e.Record(ctx, c, m, c.Tenant, m.asked(req), answerRevision(answer))
}

// Recorded are the prefixes under which a caller's reads of a tenant are recorded.
func (e *Enforcer) Recorded(c Caller, t ledger.Tenant) (Scope, error) {
	if c.ActsFor(t) {
		return everywhere, nil
	}
	return e.RecordedBy(t)
}

// reveals reports whether a request asks for secrets.
func reveals(req proto.Message) bool {
	r, may := req.(interface{ GetReveal() bool })
	return may && r.GetReveal()
}

// Record records a read of a tenant durably, if that is required.
func (e *Enforcer) Record(ctx context.Context, c Caller, m *Method, t ledger.Tenant, a Asked, revision uint64) error {
	always := c.ActsFor(t) && !m.OfNoTenant
	prefixes, err := e.Recorded(c, t)
	switch {
	case a.Nothing() && !always:
		return nil
	case err != nil:
		return err
	}
	if !a.Revealed {
		if a = a.Under(prefixes); a.Nothing() && !always {
			return nil
		}
	}
	record := &stelev1.ReadRecord{
		Tenant: string(t), Time: timestamppb.Now(), Subject: c.Subject, Method: m.Name,
		Keys: a.Keys, Prefixes: a.Prefixes, Revision: revision, Revealed: a.Revealed,
	}
	for _, r := range c.Roles {
		record.Roles = append(record.Roles, string(r))
	}
	body, err := proto.Marshal(record)
	if err != nil {
		return fmt.Errorf("encode the record of a read: %w", err)
	}
	log, err := e.ReadLog()
	if err == nil {
		_, err = log.Append(ctx, string(t), body)
	}
	if err != nil {
		return notRecorded(t, always, a.Revealed, err)
	}
	return nil
}

// notRecorded is the error of a call whose record cannot be written.
func notRecorded(t ledger.Tenant, operator, revealed bool, err error) error {
	if errors.Is(err, ledger.ErrUnknownOutcome) { // a record too many does no harm
		err = errors.New("the journal does not answer")
	}
	why, do := fmt.Sprintf("as policy/%s/reads requires", t), "retry"
	switch {
	case operator:
		why, do = "because an operator makes it", fmt.Sprintf("retry, or use a token of %s itself for keys whose reads its policy does not record", t)
	case revealed:
		why = "because it reveals secrets"
	}
	return fmt.Errorf("%w for %s, %s, and the record cannot be written: %w; %s", ErrNotRecorded, t, why, err, do)
}

// ReadLog returns the log of recorded reads, or why it is unreachable.
func (e *Enforcer) ReadLog() (ReadLog, error) {
	if e.cfg.ReadLog == nil {
		return nil, fmt.Errorf("%w: this gateway has no journal", ledger.ErrUnavailable)
	}
	return e.cfg.ReadLog()
}

// CommitOf is the part of an answer that describes a commit; nil if it has none.
func CommitOf(answer any) *stelev1.CommitResponse {
	switch a := answer.(type) {
	case *stelev1.CommitResponse:
		return a
	case interface {
		GetCommit() *stelev1.CommitResponse
	}:
		return a.GetCommit()
	}
	return nil
}

// committed reports whether an answer describes a commit that the call has made, or that
// its change set changes nothing, which the handler has recorded.
func committed(answer proto.Message) bool {
	made := CommitOf(answer)
	return made != nil && !made.RepeatedRequest
}

// answerRevision is the revision of the state that an answer describes, 0 if it names none.
func answerRevision(answer proto.Message) uint64 {
	switch a := answer.(type) {
	case interface{ GetSnapshot() *stelev1.Snapshot }:
		return a.GetSnapshot().GetRevision()
	case interface{ GetHead() uint64 }: // of a preview of a rollback or revert
		return a.GetHead()
	}
	return 0
}
