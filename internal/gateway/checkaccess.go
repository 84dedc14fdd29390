package gateway

import (
	"context"
	"errors"
	"strings"

	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// CheckAccess reports whether the caller may do something, and why.
func (s ledgerService) CheckAccess(ctx context.Context, req *stelev1.CheckAccessRequest) (*stelev1.CheckAccessResponse, error) {
	c, op, what := policy.CallerOf(ctx), policy.Operation(req.Operation), req.GetPrefix()
	if by, ok := req.On.(*stelev1.CheckAccessRequest_Key); ok {
		what = by.Key
		if _, err := ledger.ParseKey(what); err != nil {
			return nil, ledger.Invalid("key", err.Error())
		}
	}
	if _, err := ledger.ParsePattern(what); err != nil {
		return nil, ledger.Invalid("prefix", err.Error())
	}
	if c.Tenant == "" {
		return nil, policy.ErrNoTenant
	}
	err := s.g.policy.MayOn(c, op, what)
	if errors.Is(err, policy.ErrDenied) {
		return &stelev1.CheckAccessResponse{Reason: strings.TrimPrefix(err.Error(), policy.ErrDenied.Error()+": ")}, nil
	}
	if err != nil {
		return nil, err
	}
	resp := &stelev1.CheckAccessResponse{Allowed: true}
	resp.Reason, resp.Grant, err = s.g.policy.Explain(c, op, what)
	return resp, err
}
