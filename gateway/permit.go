package gateway

import (
	"context"

	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/replica"
	"github.com/stelehq/stele/ledger/schema"
	"github.com/stelehq/stele/schemas/configuration"
	syncv1 "github.com/stelehq/stele/schemas/flagd/sync/v1"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// permit is nil when the caller may do what a request asks for. A request may do
// so for all the keys and prefixes that it names, or it is refused. What names
// none, and is told of in parts, is left to its handler, which tells only of keys
// in the caller's scope. All other requests, also those that are not named here,
// need the method's operation on every key, so that no method can be forgotten.
func (g *Gateway) permit(ctx context.Context, method string, req any) error {
	p := permission{g, callerOf(ctx)}
	switch r := req.(type) {
	case *stelev1.GetRequest:
		return p.read(r, r.Key)
	case *stelev1.BatchGetRequest:
		return p.read(r, r.Keys...)
	case *stelev1.ReadRequest:
		return p.read(r, r.Keys...)
	case *stelev1.CreateWatch:
		if err := p.on(toRead, r.Keys...); err != nil {
			return err
		}
		return p.on(toRead, r.Prefixes...)
	case *stelev1.ListRequest:
		return p.read(r, r.Prefix)
	case *stelev1.DiffRequest:
		return p.on(toRead, r.Prefix)
	case *stelev1.BlameRequest:
		return p.on(toRead, r.Prefix)
	case *stelev1.ListCommitsRequest:
		switch by := r.Keys.(type) {
		case *stelev1.ListCommitsRequest_Key:
			return p.on(toRead, by.Key)
		case *stelev1.ListCommitsRequest_Prefix:
			return p.on(toRead, by.Prefix)
		}
		return nil // told in parts
	case *stelev1.GetCommitRequest, *stelev1.ListReadsRequest, *stelev1.ListParkedRequest, *stelev1.ListDriftRequest,
		*configuration.RetrieveConfigRequest, *configuration.RetrieveConfigRequests:
		return nil // told in parts
	case *syncv1.SyncFlagsRequest, *syncv1.FetchAllFlagsRequest:
		prefix, err := flagPrefix(ctx, r.(flagRequest))
		if err != nil {
			return err
		}
		return p.on(toRead, string(prefix))
	case *stelev1.GetHeadRequest, *stelev1.GetStatusRequest, *stelev1.CheckAccessRequest, *stelev1.ListTenantsRequest,
		*stelev1.GetCheckpointRequest, *stelev1.ProveConsistencyRequest, *stelev1.ListSinksRequest, *stelev1.GetRoutesRequest, *stelev1.PlanRoutesRequest,
		*configuration.Empty, *syncv1.GetMetadataRequest:
		return nil // tells of no key
	case *stelev1.ListSchemasRequest:
		return p.on(toRead, r.Prefix)
	case *stelev1.ExplainKeyRequest:
		return p.on(toRead, r.Key)
	case *stelev1.CheckValueRequest:
		return p.on(toRead, r.Key)
	case *stelev1.CheckSchemaRequest:
		return p.on(toRead, r.Prefix)
	case *stelev1.CheckLiveRequest:
		return p.on(toRead, r.Prefix)
	case *stelev1.CommitRequest:
		return p.commit(r)
	case *stelev1.PlanRequest:
		return p.plan(r.Commit)
	case *stelev1.CommitStreamRequest:
		return p.commit(r.Commit)
	case *stelev1.RollbackRequest:
		return p.change(r.Prefix)
	case *stelev1.RevertRequest:
		return p.revert(ctx, r)
	case *stelev1.RetryRequest:
		return p.on(toAdminister, r.Key) // the empty key is all
	case *stelev1.SkipRequest:
		return p.on(toAdminister, r.Key)
	}
	return p.on(rights[method].operation(), "")
}

// permission is what one caller may do.
type permission struct {
	g *Gateway
	c caller
}

// on is nil when the caller may do the operation on all of these keys or prefixes.
func (p permission) on(op operation, what ...string) error {
	s, err := p.g.scope(p.c, op)
	if err != nil || s.everywhere() {
		return err
	}
	for _, w := range what {
		if s.prefix(w) {
			continue
		}
		if err := p.g.mayOn(p.c, op, w); err != nil { // it says why
			return err
		}
	}
	return nil
}

// read is for what may reveal secrets.
func (p permission) read(r any, what ...string) error {
	if err := p.on(toRead, what...); err != nil || !reveals(r) {
		return err
	}
	return p.on(toReveal, what...)
}

func (p permission) commit(r *stelev1.CommitRequest) error {
	keys, expected := make([]string, len(r.GetChanges())), make([]string, len(r.GetPreconditions()))
	for i, ch := range r.GetChanges() {
		keys[i] = ch.GetKey()
	}
	for i, pre := range r.GetPreconditions() {
		expected[i] = pre.GetKey()
	}
	if err := p.on(toWrite, keys...); err != nil {
		return err
	}
	for _, k := range keys { // the answer tells which of the values below break it
		if prefix, is := schema.PrefixOf(ledger.Key(k)); is {
			if err := p.on(toRead, string(prefix)); err != nil {
				return err
			}
		}
	}
	if r.GetImport() != nil {
		if err := p.on(toAdminister, keys...); err != nil {
			return err
		}
	}
	return p.on(toRead, expected...) // a conflict tells at which revision a key is
}

// plan tells what the keys are, too.
func (p permission) plan(r *stelev1.CommitRequest) error {
	if err := p.commit(r); err != nil {
		return err
	}
	keys := make([]string, len(r.GetChanges()))
	for i, ch := range r.GetChanges() {
		keys[i] = ch.GetKey()
	}
	return p.on(toRead, keys...)
}

// change is for what puts old values in place: it tells of them, too.
func (p permission) change(what ...string) error {
	if err := p.on(toWrite, what...); err != nil {
		return err
	}
	return p.on(toRead, what...)
}

// revert looks the commits up: all that they changed must be the caller's to change.
func (p permission) revert(ctx context.Context, r *stelev1.RevertRequest) error {
	if p.change("") == nil {
		return nil
	}
	v, err := p.g.view(ctx, replica.At{}, max(r.MinRevision, r.GetExpectedHead()))
	if err != nil {
		return err
	}
	defer v.Close()
	reads, err := p.g.scope(p.c, toRead)
	if err != nil {
		return err
	}
	writes, err := p.g.scope(p.c, toWrite)
	if err != nil {
		return err
	}
	for _, rev := range r.Revisions {
		c, err := v.Commit(ledger.Revision(rev))
		if err != nil {
			return err
		}
		_, read := reads.pick(c.Changes)
		_, write := writes.pick(c.Changes)
		if !read || !write {
			// The key is not named: it may be one that the caller may not read.
			return denied("%s%s changed keys that %s may not both read and change: it can be reverted only whole", p.c.tenant, c.Revision, p.c.Subject)
		}
	}
	return nil
}
