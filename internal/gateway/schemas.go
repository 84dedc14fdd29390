package gateway

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/gateway/view"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/ledger/schema"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// schemasService returns the schemas in force for the caller's tenant, and tests them.
type schemasService struct {
	stelev1.UnimplementedSchemasServer
	g *Gateway
}

// ListSchemas returns the schemas of the tenant, of its bases and of the platform.
func (s schemasService) ListSchemas(ctx context.Context, req *stelev1.ListSchemasRequest) (*stelev1.ListSchemasResponse, error) {
	pattern, err := ledger.ParsePattern(req.Prefix)
	if err != nil {
		return nil, ledger.Invalid("prefix", err.Error())
	}
	v, err := s.g.views.OpenAt(ctx, req)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	resp := &stelev1.ListSchemasResponse{Snapshot: view.SnapshotOf(v)}
	t := policy.CallerOf(ctx).Tenant
	own, err := schema.At(t, v)
	if err != nil {
		return nil, err
	}
	sets := []*schema.Set{own}
	if t != ledger.System {
		bases, err := s.g.cfg.Schemas.BasesOf(v)
		if err != nil {
			return nil, err
		}
		sets = append(sets, bases...)
		platform, err := s.g.cfg.Schemas.Platform()
		if err != nil {
			return nil, err
		}
		sets = append(sets, platform)
	}
	for _, set := range sets {
		for _, d := range set.Documents() {
			// Schemas of keys that the pattern selects, and of those above them.
			if p := string(d.Prefix); pattern.Match(ledger.Key(p)) || strings.HasPrefix(string(pattern.Range()), p+"/") {
				resp.Schemas = append(resp.Schemas, schemaOf(d, set.Tenant(), t))
			}
		}
	}
	return resp, nil
}

// schemaOf is a schema of one tenant as another one sees it.
func schemaOf(d schema.Document, of, seenBy ledger.Tenant) *stelev1.Schema {
	s := &stelev1.Schema{Prefix: string(d.Prefix), Document: string(d.Text), Revision: uint64(d.Revision), Platform: of == ledger.System}
	if of != seenBy && !s.Platform {
		s.Base = string(of)
	}
	return s
}

// ExplainKey returns the schemas that hold for a key.
func (s schemasService) ExplainKey(ctx context.Context, req *stelev1.ExplainKeyRequest) (*stelev1.ExplainKeyResponse, error) {
	key, err := ledger.ParseKey(req.Key)
	if err != nil {
		return nil, ledger.Invalid("key", err.Error())
	}
	v, err := s.g.views.Open(ctx, replica.At{}, view.SeenBy(req))
	if err != nil {
		return nil, err
	}
	defer v.Close()
	resp := &stelev1.ExplainKeyResponse{Snapshot: view.SnapshotOf(v)}
	t := policy.CallerOf(ctx).Tenant
	sets, err := s.g.cfg.Schemas.All(t, v)
	if err != nil {
		return nil, err
	}
	for _, set := range slices.Backward(sets) { // the tenant's own first
		if d, ok := set.For(key); ok {
			resp.Schemas = append(resp.Schemas, schemaOf(d, set.Tenant(), t))
		}
	}
	return resp, nil
}

// CheckValue validates a value against the schemas for a key.
func (s schemasService) CheckValue(ctx context.Context, req *stelev1.CheckValueRequest) (*stelev1.CheckValueResponse, error) {
	key, err := ledger.ParseKey(req.Key)
	if err != nil {
		return nil, ledger.Invalid("key", err.Error())
	}
	value, err := ledger.ParseValue(req.Value)
	if err != nil {
		return nil, ledger.Invalid("value", err.Error())
	}
	release, err := s.g.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	v, err := s.g.views.Open(ctx, replica.At{}, view.SeenBy(req))
	if err != nil {
		return nil, err
	}
	defer v.Close()
	found, n, err := s.g.cfg.Schemas.Value(ctx, policy.CallerOf(ctx).Tenant, v, key, value)
	if err != nil {
		return nil, err
	}
	return &stelev1.CheckValueResponse{Violations: violationsOf(found), Schemas: uint32(n), Snapshot: view.SnapshotOf(v)}, nil
}

// maxChecks is how many checks and searches run at a time: each may take a processor.
const maxChecks = 8

// turn takes one of the slots for checks and searches.
func (g *Gateway) turn(ctx context.Context) (release func(), err error) {
	c := policy.CallerOf(ctx)
	release, ok := g.checks.Take(string(c.Tenant), c.Subject)
	if !ok {
		return nil, &policy.OverLimitError{Tenant: c.Tenant, Limit: "checks", Of: "checks and searches at a time on this gateway", Wait: time.Second}
	}
	return release, nil
}

// checkTimeout bounds how long the live values are looked at for one call.
const checkTimeout = 30 * time.Second

// CheckSchema reads a candidate and checks the live values below its prefix against it.
func (s schemasService) CheckSchema(ctx context.Context, req *stelev1.CheckSchemaRequest) (*stelev1.CheckSchemaResponse, error) {
	key, err := schema.KeyOf(ledger.Prefix(req.Prefix))
	if err != nil {
		return nil, ledger.Invalid("prefix", err.Error())
	}
	prefix, _ := schema.PrefixOf(key)
	document, err := ledger.ParseValue(req.Document)
	if err != nil {
		return nil, ledger.Invalid("document", err.Error())
	}
	v, err := s.g.views.Open(ctx, replica.At{}, view.SeenBy(req))
	if err != nil {
		return nil, err
	}
	defer v.Close()
	broken, err := s.check(ctx, stelev1.Schemas_CheckSchema_FullMethodName, v, prefix, func(ctx context.Context, viewer *policy.Viewer) (schema.Broken, error) {
		return s.g.cfg.Schemas.Candidate(ctx, viewer, policy.CallerOf(ctx).Tenant, v, prefix, document)
	})
	if err != nil {
		return nil, err
	}
	return &stelev1.CheckSchemaResponse{Broken: broken, Snapshot: view.SnapshotOf(v)}, nil
}

// CheckLive checks the live values under a prefix against the schemas that hold for them.
func (s schemasService) CheckLive(ctx context.Context, req *stelev1.CheckLiveRequest) (*stelev1.CheckLiveResponse, error) {
	pattern, err := ledger.ParsePattern(req.Prefix)
	if err != nil {
		return nil, ledger.Invalid("prefix", err.Error())
	}
	v, err := s.g.views.Open(ctx, replica.At{}, view.SeenBy(req))
	if err != nil {
		return nil, err
	}
	defer v.Close()
	broken, err := s.check(ctx, stelev1.Schemas_CheckLive_FullMethodName, v, ledger.Prefix(pattern), func(ctx context.Context, viewer *policy.Viewer) (schema.Broken, error) {
		return s.g.cfg.Schemas.Live(ctx, viewer, policy.CallerOf(ctx).Tenant, v, pattern)
	})
	if err != nil {
		return nil, err
	}
	return &stelev1.CheckLiveResponse{Broken: broken, Snapshot: view.SnapshotOf(v)}, nil
}

// check reads existing values, and records that as a read of them: of the requested
// prefix, also if there are none, and of each tenant whose values were read.
func (s schemasService) check(ctx context.Context, method string, v *replica.View, asked ledger.Prefix, look func(context.Context, *policy.Viewer) (schema.Broken, error)) (*stelev1.BrokenValues, error) {
	release, err := s.g.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	c := policy.CallerOf(ctx)
	viewer := s.g.policy.View(c, policy.Methods[method])
	viewer.Looked(c.Tenant, asked)
	bounded, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	b, err := look(bounded, viewer)
	if lost := viewer.Record(ctx, uint64(v.State().Revision)); lost != nil {
		return nil, lost
	}
	if err != nil {
		return nil, err
	}
	out := &stelev1.BrokenValues{Checked: uint64(b.Checked), Count: uint64(b.Count), NotChecked: uint64(b.NotChecked)}
	for _, v := range b.First {
		shown := &stelev1.BrokenValue{Key: string(v.Key), Revision: uint64(v.Revision), Violations: violationsOf(v.Violations), Base: v.Base.Proto()}
		if c.Tenant == ledger.System {
			shown.Tenant = string(v.Tenant)
		}
		out.First = append(out.First, shown)
	}
	return out, nil
}

func violationsOf(found []schema.Violation) []*stelev1.SchemaViolation {
	out := make([]*stelev1.SchemaViolation, len(found))
	for i, v := range found {
		out[i] = &stelev1.SchemaViolation{Pointer: v.Pointer, Keyword: v.Rule, Schema: v.Schema, Description: v.Why, Found: v.Found}
	}
	return out
}
