package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/schemas/configuration"
	syncv1 "github.com/stelehq/stele/schemas/flagd/sync/v1"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// ReadLog keeps the records of reads, a stream of messages for each tenant.
type ReadLog interface {
	// Append returns when the record is durable.
	Append(ctx context.Context, tenant string, record []byte) (ledger.Sequence, error)
	// Scan hands over the tenant's records, oldest first, from a sequence on or,
	// where that is 0, from a time on, until yield returns false.
	Scan(ctx context.Context, tenant string, from ledger.Sequence, since time.Time, yield func(seq ledger.Sequence, stored time.Time, record []byte) bool) error
}

// asked is what a request may tell of: the values of keys, or which are set.
type asked struct {
	keys     []string
	prefixes []string
	// revealed says that secrets were to be shown themselves.
	revealed bool
}

// askedBy is what a request asks for. One that is not named here counts as one
// for everything, so that no method can be forgotten.
func askedBy(req any) asked {
	everything := asked{prefixes: []string{""}}
	switch r := req.(type) {
	case *stelev1.GetRequest:
		return asked{keys: []string{r.Key}, revealed: r.Reveal}
	case *stelev1.BatchGetRequest:
		return asked{keys: r.Keys, revealed: r.Reveal}
	case *stelev1.ReadRequest:
		return asked{keys: r.Keys, revealed: r.Reveal}
	case *stelev1.CreateWatch:
		return asked{keys: r.Keys, prefixes: r.Prefixes}
	case *stelev1.ListRequest:
		return asked{prefixes: []string{r.Prefix}, revealed: r.Reveal}
	case *stelev1.DiffRequest:
		return asked{prefixes: []string{r.Prefix}}
	case *stelev1.BlameRequest:
		return asked{prefixes: []string{r.Prefix}}
	case *stelev1.ListCommitsRequest:
		by, named := r.Keys.(*stelev1.ListCommitsRequest_Key)
		switch {
		case !r.OnlyMatchingChanges, r.Encoded: // a commit is told with its other keys
			return everything
		case named:
			return asked{keys: []string{by.Key}}
		}
		return asked{prefixes: []string{r.GetPrefix()}}
	case *stelev1.PlanRequest:
		keys := make([]string, len(r.GetCommit().GetChanges()))
		for i, ch := range r.GetCommit().GetChanges() {
			keys[i] = ch.GetKey()
		}
		return asked{keys: keys}
	case *stelev1.ListSchemasRequest:
		return asked{prefixes: []string{string(schemaKeys(r.Prefix))}}
	case *stelev1.ExplainKeyRequest:
		return asked{prefixes: []string{string(schemaKeys(""))}}
	case *stelev1.CheckValueRequest: // the value is the caller's own
		return asked{prefixes: []string{string(schemaKeys(""))}}
	case *stelev1.CheckSchemaRequest:
		return asked{prefixes: []string{r.Prefix}}
	case *stelev1.CheckLiveRequest:
		return asked{prefixes: []string{r.Prefix}}
	case *stelev1.RollbackRequest:
		if r.DryRun {
			return asked{prefixes: []string{r.Prefix}}
		}
		return asked{} // the commit is the record
	case *stelev1.RevertRequest:
		if r.DryRun {
			return everything
		}
		return asked{}
	case *stelev1.CommitRequest, *stelev1.GetHeadRequest, *stelev1.GetStatusRequest, *stelev1.ListTenantsRequest,
		*stelev1.ListReadsRequest, *stelev1.CheckAccessRequest, *stelev1.ShredTenantRequest, *stelev1.GetCheckpointRequest, *stelev1.ProveConsistencyRequest,
		*stelev1.ListSinksRequest, *stelev1.GetRoutesRequest, *stelev1.ReplayRequest:
		return asked{}
	case *stelev1.RetryRequest:
		return oneOrNone(r.Key)
	case *stelev1.SkipRequest:
		return oneOrNone(r.Key)
	case *configuration.Empty, *syncv1.GetMetadataRequest:
		return asked{}
	}
	return everything
}

// recordsItself says whether a request is recorded by its handler, which alone knows
// which of the ledger's keys are meant.
func recordsItself(req any) bool {
	switch req.(type) {
	case *configuration.RetrieveConfigRequest, *configuration.RetrieveConfigRequests, *syncv1.FetchAllFlagsRequest:
		return true
	}
	return false
}

// oneOrNone is what is told of a key that is parked, and nothing where all are
// meant: then the answer is a number.
func oneOrNone(key string) asked {
	if key == "" {
		return asked{}
	}
	return asked{keys: []string{key}}
}

// under keeps what may tell of a key that begins with one of the prefixes.
func (a asked) under(record []ledger.Prefix) asked {
	var out asked
	for _, k := range a.keys {
		if slices.ContainsFunc(record, func(p ledger.Prefix) bool { return strings.HasPrefix(k, string(p)) }) {
			out.keys = append(out.keys, k)
		}
	}
	for _, q := range a.prefixes {
		if slices.ContainsFunc(record, func(p ledger.Prefix) bool {
			return strings.HasPrefix(q, string(p)) || strings.HasPrefix(string(p), q)
		}) {
			out.prefixes = append(out.prefixes, q)
		}
	}
	return out
}

func (a asked) nothing() bool { return len(a.keys)+len(a.prefixes) == 0 }

// recordRead makes the record of a read durable where the tenant's policy wants
// one or it reveals secrets, or the caller is an operator who acts for the tenant:
// then, too, that of any other call that makes no commit, which would be its record.
// It is called when the answer is there and before it leaves, by what all
// unary calls go through and by each handler of a stream: when it fails, nothing
// may be answered but its error. A read that has failed is recorded, too, with
// revision 0: that a key is not set is an answer.
func (g *Gateway) recordRead(ctx context.Context, method string, req, answer any) error {
	c := callerOf(ctx)
	prefixes, err := g.recorded(c, c.tenant)
	if err == nil && len(prefixes) == 0 && !reveals(req) || committed(answer) || recordsItself(req) {
		return nil // before the request is looked at, which most calls need not pay for
	}
	return g.record(ctx, c.tenant, method, askedBy(req), answerRevision(answer))
}

// recorded are the prefixes under which what a caller reads of a tenant is recorded.
func (g *Gateway) recorded(c caller, t ledger.Tenant) ([]ledger.Prefix, error) {
	if c.visits(t) {
		return everywhere, nil
	}
	return g.policies.recorded(t)
}

// reveals says whether a request asks for secrets themselves.
func reveals(req any) bool {
	r, may := req.(interface{ GetReveal() bool })
	return may && r.GetReveal()
}

// record makes the record of what a tenant was asked for durable, where there must
// be one.
func (g *Gateway) record(ctx context.Context, t ledger.Tenant, method string, a asked, revision uint64) error {
	c := callerOf(ctx)
	always := c.visits(t) && (rights[method] < operate || method == stelev1.Ledger_ShredTenant_FullMethodName) // else nothing concerns the tenant
	prefixes, err := g.recorded(c, t)
	switch {
	case a.nothing() && !always:
		return nil
	case err != nil:
		return err
	}
	if !a.revealed {
		if a = a.under(prefixes); a.nothing() && !always {
			return nil
		}
	}
	record := &stelev1.ReadRecord{
		Tenant: string(t), Time: timestamppb.Now(), Subject: c.Subject, Method: method,
		Keys: a.keys, Prefixes: a.prefixes, Revision: revision, Revealed: a.revealed,
	}
	for _, r := range c.Roles {
		record.Roles = append(record.Roles, string(r))
	}
	body, err := proto.Marshal(record)
	if err != nil {
		return fmt.Errorf("encode the record of a read: %w", err)
	}
	log, err := g.readLog()
	if err == nil {
		_, err = log.Append(ctx, string(t), body)
	}
	switch {
	case errors.Is(err, ledger.ErrUnknownOutcome): // whether it is there does not matter
		return fmt.Errorf("%w: the journal does not answer", errNotRecorded)
	case err != nil:
		return fmt.Errorf("%w: %w", errNotRecorded, err)
	}
	return nil
}

// readLog is where reads are recorded, or why that cannot be reached.
func (g *Gateway) readLog() (ReadLog, error) {
	if g.cfg.ReadLog == nil {
		return nil, fmt.Errorf("%w: this gateway has no journal", ledger.ErrUnavailable)
	}
	return g.cfg.ReadLog()
}

// committed says whether an answer tells of a commit that the call has made.
func committed(answer any) bool {
	var made *stelev1.CommitResponse
	switch a := answer.(type) {
	case *stelev1.CommitResponse:
		made = a
	case interface {
		GetCommit() *stelev1.CommitResponse
	}:
		made = a.GetCommit()
	}
	return made != nil && !made.RepeatedRequest && !made.Unchanged
}

// answerRevision is the revision that an answer is the state of, 0 where it names
// none.
func answerRevision(answer any) uint64 {
	switch a := answer.(type) {
	case interface{ GetSnapshot() *stelev1.Snapshot }:
		return a.GetSnapshot().GetRevision()
	case interface{ GetHead() uint64 }: // of a rollback's or a revert's preview
		return a.GetHead()
	}
	return 0
}
