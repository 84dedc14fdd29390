// Package awssample serves the interface of the AWS reference implementation.
package awssample

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/stelehq/stele/internal/gateway/apierror"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/gateway/redact"
	"github.com/stelehq/stele/internal/gateway/view"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/schemas/configuration"
)

// service is the interface of the AWS reference implementation, over the
// replica. Where that one asks DynamoDB for tenant_config_NAME and its copy of
// Parameter Store for param_config_NAME, the ledger is asked for the key of that
// very name, and then for the one with the ledger's own tag: tenantconfig/NAME,
// paramconfig/NAME.
type service struct {
	configuration.UnimplementedConfigServiceServer
	cfg Config
}

// Config is what the service reads from.
type Config struct {
	Replica   *replica.Replica
	Policy    *policy.Enforcer
	Views     view.Opener
	Redaction redact.Source
	// Environment is part of the names of parameters.
	Environment string
}

// New makes the service.
func New(cfg Config) configuration.ConfigServiceServer {
	return service{cfg: cfg}
}

// tags of the reference implementation's keys, and the ledger's own.
const (
	awsTenantTag = "tenant_config_"
	awsParamTag  = "param_config_"
	tenantTag    = "tenantconfig/"
	paramTag     = "paramconfig/"
	// allParameters is the key that stands for all of a service's parameters.
	allParameters = awsParamTag + "all"
)

// HealthCheck says that the gateway holds something to answer with.
func (s service) HealthCheck(context.Context, *configuration.Empty) (*configuration.HealthCheckResponse, error) {
	if !s.cfg.Replica.Ready() {
		return nil, fmt.Errorf("%w: the replica has not caught up yet", ledger.ErrUnavailable)
	}
	return &configuration.HealthCheckResponse{Data: "Healthy"}, nil
}

// RefreshConfig waits until the replica is known to have all commits from before the
// call. Nothing has to be loaded: every gateway follows the journal.
func (s service) RefreshConfig(ctx context.Context, _ *configuration.Empty) (*configuration.Empty, error) {
	begun := time.Now()
	bounded, cancel := context.WithTimeout(ctx, view.BehindTimeout)
	defer cancel()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		waited := time.Since(begun) // before the age is read, which grows
		v, err := s.cfg.Views.Open(ctx, replica.At{}, view.Seen{})
		if err != nil {
			return nil, err
		}
		age := v.State().Age
		v.Close()
		if age <= waited {
			return &configuration.Empty{}, nil
		}
		select {
		case <-poll.C:
		case <-bounded.Done():
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, fmt.Errorf("%w: its newest knowledge is %s old, and has stayed so for %s; try again, or another gateway", apierror.ErrBehind, age.Round(time.Millisecond), view.BehindTimeout)
		}
	}
}

// RetrieveConfig returns one setting, or all parameters of a service.
func (s service) RetrieveConfig(ctx context.Context, req *configuration.RetrieveConfigRequest) (*configuration.RetrieveConfigResponse, error) {
	r := read{cfg: s.cfg, c: policy.CallerOf(ctx)}
	data, err := r.retrieve(ctx, req)
	if lost := s.cfg.Policy.Record(ctx, r.c, policy.Methods[configuration.ConfigService_RetrieveConfig_FullMethodName], r.c.Tenant, r.Asked, r.revision); lost != nil {
		return nil, lost
	}
	if err != nil {
		return nil, err
	}
	return &configuration.RetrieveConfigResponse{Data: data}, nil
}

// RetrieveConfigs returns settings as text. Parameters are named as Parameter Store
// names them, other settings as they were asked for.
func (s service) RetrieveConfigs(ctx context.Context, req *configuration.RetrieveConfigRequests) (*configuration.RetrieveConfigResponses, error) {
	r := read{cfg: s.cfg, c: policy.CallerOf(ctx)}
	data, err := r.retrieveAll(ctx, req.Keys)
	if lost := s.cfg.Policy.Record(ctx, r.c, policy.Methods[configuration.ConfigService_RetrieveConfigs_FullMethodName], r.c.Tenant, r.Asked, r.revision); lost != nil {
		return nil, lost
	}
	if err != nil {
		return nil, err
	}
	return &configuration.RetrieveConfigResponses{Data: data}, nil
}

// keysFor are the ledger's keys that a key of a request may mean, the first that
// is set counts.
func keysFor(request, field string) ([]ledger.Key, error) {
	tag, name, ok := tenantTag, "", false
	if name, ok = strings.CutPrefix(request, awsTenantTag); !ok {
		tag = paramTag
		name, ok = strings.CutPrefix(request, awsParamTag)
	}
	if !ok {
		return nil, ledger.Invalid(field, fmt.Sprintf("%q begins with neither %s nor %s", request, awsTenantTag, awsParamTag))
	}
	key, err := ledger.ParseKey(request)
	if err != nil {
		return nil, ledger.Invalid(field, err.Error())
	}
	other, err := ledger.ParseKey(tag + name)
	if err != nil { // e.g. too long by a byte
		return []ledger.Key{key}, nil
	}
	return []ledger.Key{key, other}, nil
}

// targets are the ledger's keys that a request may mean, the first that is set
// counts, and else the prefixes of the service's parameters.
func targets(req *configuration.RetrieveConfigRequest) (keys []ledger.Key, services []ledger.Prefix, err error) {
	if keys, err = keysFor(req.Key, "key"); err != nil {
		return nil, nil, err
	}
	name, param := strings.CutPrefix(req.Key, awsParamTag)
	if param && req.ServiceName != "" {
		for _, tag := range []string{awsParamTag, paramTag} {
			p, err := ledger.ParsePrefix(tag + req.ServiceName + "/")
			if err != nil {
				return nil, nil, ledger.Invalid("serviceName", err.Error())
			}
			services = append(services, p)
			keys = append(keys, ledger.Key(string(p)+name))
		}
	}
	if req.Key == allParameters {
		keys = nil
	}
	return keys, services, nil
}
