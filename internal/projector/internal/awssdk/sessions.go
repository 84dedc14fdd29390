package awssdk

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
)

// tenantTag is the session tag that names the tenant.
const tenantTag = "tenant"

type tenantKey struct{}

// As makes requests with the credentials of a tenant, if the sink has such.
func As(ctx context.Context, t ledger.Tenant) context.Context {
	return context.WithValue(ctx, tenantKey{}, t)
}

// roleOf is the role that is assumed for a tenant.
func (a Account) roleOf(t ledger.Tenant) string {
	return strings.ReplaceAll(a.RoleARN, "{tenant}", string(t))
}

// sessions are the credentials of an assumed role: one session, or one per tenant.
type sessions struct {
	client  *sts.Client
	base    aws.CredentialsProvider
	account Account

	mu       sync.Mutex // guards the map
	byTenant map[ledger.Tenant]*aws.CredentialsCache
}

// Retrieve returns credentials for the tenant of ctx. Requests that concern no tenant,
// as for a table's description, use a session without the tag; if every tenant has a
// role of its own, they use the credentials that assume the roles.
func (s *sessions) Retrieve(ctx context.Context) (aws.Credentials, error) {
	t, _ := ctx.Value(tenantKey{}).(ledger.Tenant)
	switch {
	case t == "" && s.account.roleOf(t) != s.account.RoleARN:
		return s.base.Retrieve(ctx)
	case !s.account.PerTenant():
		t = ""
	}
	return s.session(t).Retrieve(ctx)
}

func (s *sessions) session(t ledger.Tenant) *aws.CredentialsCache {
	s.mu.Lock()
	defer s.mu.Unlock()
	if is := s.byTenant[t]; is != nil {
		return is
	}
	provider := stscreds.NewAssumeRoleProvider(s.client, s.account.roleOf(t), func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = sessionName(t)
		if s.account.ExternalID != "" {
			o.ExternalID = &s.account.ExternalID
		}
		if t != "" && s.account.TenantSessions {
			o.Tags = []types.Tag{{Key: aws.String(tenantTag), Value: aws.String(string(t))}}
		}
	})
	if s.byTenant == nil {
		s.byTenant = make(map[ledger.Tenant]*aws.CredentialsCache)
	}
	s.byTenant[t] = aws.NewCredentialsCache(provider)
	return s.byTenant[t]
}

// sessionName is what CloudTrail shows: 2 to 64 characters.
func sessionName(t ledger.Tenant) string {
	name := "stele"
	if t != "" {
		name += "-" + string(t)
	}
	return name[:min(len(name), 64)]
}

// ByTenant has the writes of each tenant written in a call of their own. A call that
// fails fails the writes of its tenant, and all of them only if every call has failed.
func ByTenant(ctx context.Context, writes []projector.Write, write func(context.Context, []projector.Write) ([]error, error)) ([]error, error) {
	var order []ledger.Tenant
	places := make(map[ledger.Tenant][]int)
	for i, w := range writes {
		if places[w.Tenant] == nil {
			order = append(order, w.Tenant)
		}
		places[w.Tenant] = append(places[w.Tenant], i)
	}
	results := make([]error, len(writes))
	var failed []error
	for _, t := range order {
		own := make([]projector.Write, len(places[t]))
		for i, place := range places[t] {
			own[i] = writes[place]
		}
		errs, err := write(As(ctx, t), own)
		if err != nil {
			failed = append(failed, err)
		}
		for i, place := range places[t] {
			if results[place] = err; err == nil {
				results[place] = errs[i]
			}
		}
	}
	if len(order) > 0 && len(failed) == len(order) {
		return nil, errors.Join(failed...)
	}
	return results, nil
}
