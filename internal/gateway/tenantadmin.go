package gateway

import (
	"context"
	"fmt"
	"time"

	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/secret"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// ShredTenant destroys the tenant's key for secrets.
func (s ledgerService) ShredTenant(ctx context.Context, req *stelev1.ShredTenantRequest) (*stelev1.ShredTenantResponse, error) {
	l, err := s.g.ledger()
	if err != nil {
		return nil, err
	}
	c := policy.CallerOf(ctx)
	switch {
	case c.Tenant == "":
		return nil, ledger.Invalid(policy.TenantHeader, "name the tenant to shred")
	case req.Confirm != string(c.Tenant):
		return nil, ledger.Invalid("confirm", fmt.Sprintf("it is not %s: nothing was destroyed", c.Tenant))
	case c.Tenant.Reserved():
		return nil, ledger.Invalid(policy.TenantHeader, fmt.Sprintf("%s is the ledger's own and holds no secrets", c.Tenant))
	case s.g.cfg.Secrets == nil:
		return nil, secret.ErrNoKEK
	}
	keys, rev, err := s.g.cfg.Secrets.Shred(ctx, l, c.Tenant, c.Subject)
	if err != nil {
		return nil, err
	}
	s.g.cfg.Log.Warn("a tenant's secrets were destroyed", "tenant", c.Tenant, "keys", keys, "by", c.Subject, "revision", rev)
	return &stelev1.ShredTenantResponse{Keys: keys, Revision: uint64(rev)}, nil
}

// RotateTenantKey encrypts the tenant's keys for secrets again, and makes a new one if that
// is asked for.
func (s ledgerService) RotateTenantKey(ctx context.Context, req *stelev1.RotateTenantKeyRequest) (*stelev1.RotateTenantKeyResponse, error) {
	c := policy.CallerOf(ctx)
	switch {
	case c.Tenant == "":
		return nil, ledger.Invalid(policy.TenantHeader, "name the tenant whose key to rotate")
	case s.g.cfg.Secrets == nil:
		return nil, secret.ErrNoKEK
	}
	ids, err := s.g.cfg.Secrets.Rotate(ctx, c.Tenant, req.NewKey)
	if err != nil {
		return nil, err
	}
	s.g.cfg.Log.Info("the keys of a tenant's secrets were encrypted again", "tenant", c.Tenant, "key", ids[0], "older", ids[1:], "new", req.NewKey, "by", c.Subject)
	return &stelev1.RotateTenantKeyResponse{Key: ids[0], Older: ids[1:]}, nil
}

// ResetTenantClock ends a stretch of commits of the tenant whose times are ahead.
func (s ledgerService) ResetTenantClock(ctx context.Context, req *stelev1.ResetTenantClockRequest) (*stelev1.ResetTenantClockResponse, error) {
	l, err := s.g.ledger()
	if err != nil {
		return nil, err
	}
	c := policy.CallerOf(ctx)
	if c.Tenant == "" {
		return nil, ledger.Invalid(policy.TenantHeader, "name the tenant whose clock to reset")
	}
	made, ahead, err := l.ResetClock(ctx, c.Tenant, c.Subject, req.Reason)
	if err != nil {
		return nil, err
	}
	if !made.Unchanged {
		s.g.cfg.Log.Warn("a tenant's clock was reset", "tenant", c.Tenant, "revision", made.Revision, "ahead", ahead.Format(time.RFC3339), "by", c.Subject, "reason", req.Reason)
	}
	return &stelev1.ResetTenantClockResponse{
		Revision: uint64(made.Revision), Id: made.ID[:], Time: timestamppb.New(made.Time), Ahead: timestamppb.New(ahead), Unchanged: made.Unchanged,
	}, nil
}
