package gateway

import (
	"context"
	"time"

	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

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
