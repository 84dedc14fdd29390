package gateway

import (
	"cmp"
	"context"
	"slices"

	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/gateway/redact"
	"github.com/stelehq/stele/internal/gateway/view"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// basesService describes what tenants inherit.
type basesService struct {
	stelev1.UnimplementedBasesServer
	g *Gateway
}

// ListBases returns the bases of the caller's tenant.
func (s basesService) ListBases(ctx context.Context, req *stelev1.ListBasesRequest) (*stelev1.ListBasesResponse, error) {
	v, err := s.g.views.OpenAt(ctx, req)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	resp := &stelev1.ListBasesResponse{Snapshot: view.SnapshotOf(v)}
	if req.Attach != "" {
		c, base := policy.CallerOf(ctx), ledger.Tenant(req.Attach)
		may, err := s.g.policy.MayAttach(c, c.Tenant, base)
		if err != nil {
			return nil, err
		}
		if !may {
			return nil, &ledger.AttachError{Tenant: c.Tenant, Base: base}
		}
		resp.AttachHead = uint64(s.g.cfg.Replica.Head(base).Revision)
	}
	list, set, err := v.Get(ledger.BasesKey)
	if err != nil || !set {
		return resp, err
	}
	bases, err := ledger.ParseBases(list.Value)
	if err != nil {
		return nil, err
	}
	resp.ListRevision, resp.Bases = uint64(list.Revision), s.g.basesProto(bases)
	return resp, nil
}

// basesProto describes bases, with their newest revisions.
func (g *Gateway) basesProto(bases []ledger.Base) (out []*stelev1.TenantBase) {
	for _, b := range bases {
		out = append(out, &stelev1.TenantBase{
			Tenant: string(b.Tenant), Revision: uint64(b.Revision), Follow: b.Follow, Head: uint64(g.cfg.Replica.Head(b.Tenant).Revision),
		})
	}
	return out
}

// ExplainValue returns what the tenant and its bases have for a key.
func (s basesService) ExplainValue(ctx context.Context, req *stelev1.ExplainValueRequest) (*stelev1.ExplainValueResponse, error) {
	key, err := ledger.ParseKey(req.Key)
	if err != nil {
		return nil, ledger.Invalid("key", err.Error())
	}
	v, err := s.g.views.OpenAt(ctx, req)
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
	resp := &stelev1.ExplainValueResponse{Snapshot: view.SnapshotOf(v)}
	e, set, err := v.Get(key)
	if err != nil {
		return nil, err
	}
	own := &stelev1.ValueLayer{Tenant: string(policy.CallerOf(ctx).Tenant), AtRevision: resp.Snapshot.Revision}
	if set {
		resp.Entry = redact.Hidden(e)
		if !e.Base.Inherited() {
			c, _, err := summaryOf(v, e, sees)
			if err != nil {
				return nil, err
			}
			own.InForce = true
			fill(own, redact, key, e.Value, e.Revision, c)
		}
	}
	resp.Layers = append(resp.Layers, own)
	layers, err := v.Layers(key)
	if err != nil {
		return nil, err
	}
	for _, l := range layers {
		if e.Base.Tenant != l.Tenant && !sees.Key(ledger.BasesKey) {
			continue // the caller may not read the list
		}
		layer := &stelev1.ValueLayer{Tenant: string(l.Tenant), AtRevision: uint64(l.Revision), InForce: e.Base.Tenant == l.Tenant}
		if l.Value != "" && key.Inheritable() {
			if !sees.Everywhere() {
				l.Summary.Message = "" // it may name other keys
			}
			fill(layer, redact, key, l.Value, l.Set, l.Summary)
		}
		resp.Layers = append(resp.Layers, layer)
	}
	return resp, nil
}

// fill describes a value and the commit that set it.
func fill(l *stelev1.ValueLayer, redact redact.Redactor, key ledger.Key, value ledger.Value, set ledger.Revision, c ledger.Summary) {
	l.Value, l.Secret = string(redact.Hide(key, value)), redact.Secret(key, value)
	l.Revision, l.Time, l.Author, l.Message = uint64(set), timestamppb.New(c.Time), c.Author, c.Message
}

const (
	defaultReach = 100
	maxHidden    = 100
)

// PreviewBaseChange returns the tenants that a change of the caller's tenant would reach.
func (s basesService) PreviewBaseChange(ctx context.Context, req *stelev1.PreviewBaseChangeRequest) (*stelev1.PreviewBaseChangeResponse, error) {
	keys := make([]ledger.Key, len(req.Changes))
	for i, ch := range req.Changes {
		var err error
		if keys[i], err = ledger.ParseKey(ch.Key); err != nil {
			return nil, ledger.Invalid("changes", err.Error())
		}
	}
	base := policy.CallerOf(ctx).Tenant
	if err := s.recordPreview(ctx, base, policy.Asked{}, s.g.cfg.Replica.Head(base).Revision); err != nil {
		return nil, err
	}
	heirs := s.g.cfg.Replica.Heirs(base)
	resp := &stelev1.PreviewBaseChangeResponse{Total: uint32(len(heirs))}
	limit := int(cmp.Or(req.PageSize, defaultReach))
	for _, t := range heirs {
		list := s.g.cfg.Replica.Bases(t)
		at := slices.IndexFunc(list, func(b ledger.Base) bool { return b.Tenant == base })
		if at < 0 {
			continue // it was detached meanwhile
		}
		if list[at].Follow {
			resp.Following++
		}
		if string(t) < req.PageToken {
			continue
		}
		if len(resp.Tenants) == limit {
			resp.NextPageToken = cmp.Or(resp.NextPageToken, string(t))
			continue
		}
		reach, err := s.reach(ctx, t, base, keys)
		if err != nil {
			return nil, err
		}
		reach.Revision, reach.Follow = uint64(list[at].Revision), list[at].Follow
		resp.Tenants = append(resp.Tenants, reach)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return resp, nil
}

// reach is how a change of the keys of a base reaches a tenant. The answer depends on which of
// the keys the tenant sets, so it is a read of them.
func (s basesService) reach(ctx context.Context, t, base ledger.Tenant, keys []ledger.Key) (*stelev1.BaseReach, error) {
	v, err := s.g.cfg.Replica.View(t, replica.At{})
	if err != nil {
		return nil, err
	}
	defer v.Close()
	reach := &stelev1.BaseReach{Tenant: string(t)}
	for _, key := range keys {
		hidden, err := v.Hides(key, base)
		switch {
		case err != nil:
			return nil, err
		case !hidden:
			reach.Reached++
		default:
			if reach.HiddenTotal++; len(reach.Hidden) < maxHidden {
				reach.Hidden = append(reach.Hidden, string(key))
			}
		}
	}
	asked := policy.Asked{Keys: make([]string, len(keys))}
	for i, key := range keys {
		asked.Keys[i] = string(key)
	}
	return reach, s.recordPreview(ctx, t, asked, v.State().Revision)
}

// recordPreview records that the caller has learned about keys of a tenant.
func (s basesService) recordPreview(ctx context.Context, t ledger.Tenant, asked policy.Asked, rev ledger.Revision) error {
	m := policy.Methods[stelev1.Bases_PreviewBaseChange_FullMethodName]
	return s.g.policy.Record(ctx, policy.CallerOf(ctx), m, t, asked, uint64(rev))
}
