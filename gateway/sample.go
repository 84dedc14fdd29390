package gateway

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/replica"
	"github.com/stelehq/stele/schemas/configuration"
)

// sampleService is the interface of the AWS reference implementation, over the
// replica. Where that one asks DynamoDB for tenant_config_NAME and its copy of
// Parameter Store for param_config_NAME, the ledger is asked for the key of that
// very name, and then for the one with the ledger's own tag: tenantconfig/NAME,
// paramconfig/NAME.
type sampleService struct {
	configuration.UnimplementedConfigServiceServer
	g *Gateway
}

// tags of the reference implementation's keys, and the ledger's own.
const (
	sampleTenantTag = "tenant_config_"
	sampleParamTag  = "param_config_"
	tenantTag       = "tenantconfig/"
	paramTag        = "paramconfig/"
	// allParameters is the key that stands for all of a service's parameters.
	allParameters = sampleParamTag + "all"
)

// HealthCheck says that the gateway holds something to answer with.
func (s sampleService) HealthCheck(context.Context, *configuration.Empty) (*configuration.HealthCheckResponse, error) {
	if !s.g.cfg.Replica.Ready() {
		return nil, fmt.Errorf("%w: the replica has not caught up yet", ledger.ErrUnavailable)
	}
	return &configuration.HealthCheckResponse{Data: "Healthy"}, nil
}

// RefreshConfig waits until the replica is known to hold what was there when the
// call came. There is nothing to load: every gateway follows the journal by itself.
func (s sampleService) RefreshConfig(ctx context.Context, _ *configuration.Empty) (*configuration.Empty, error) {
	begun := time.Now()
	bounded, cancel := context.WithTimeout(ctx, behindTimeout)
	defer cancel()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		waited := time.Since(begun) // before the age is told, which grows
		v, err := s.g.view(ctx, replica.At{}, 0)
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
			return nil, fmt.Errorf("%w: its newest knowledge is %s old, and has stayed so for %s; try again, or another gateway", errBehind, age.Round(time.Millisecond), behindTimeout)
		}
	}
}

// RetrieveConfig returns one setting, or all parameters of a service.
func (s sampleService) RetrieveConfig(ctx context.Context, req *configuration.RetrieveConfigRequest) (*configuration.RetrieveConfigResponse, error) {
	keys, err := sampleKeys(req.Key, "key")
	if err != nil {
		return nil, err
	}
	r := sampleRead{asked: asked{keys: keys}}
	data, err := s.retrieve(ctx, &r, req)
	if lost := s.record(ctx, configuration.ConfigService_RetrieveConfig_FullMethodName, r); lost != nil {
		return nil, lost
	}
	if err != nil {
		return nil, err
	}
	return &configuration.RetrieveConfigResponse{Data: data}, nil
}

// RetrieveConfigs returns settings as text. Parameters are named as Parameter Store
// names them, other settings as they were asked for.
func (s sampleService) RetrieveConfigs(ctx context.Context, req *configuration.RetrieveConfigRequests) (*configuration.RetrieveConfigResponses, error) {
	var r sampleRead
	all := make([][]string, len(req.Keys))
	for i, k := range req.Keys {
		var err error
		if all[i], err = sampleKeys(k, fmt.Sprintf("keys[%d]", i)); err != nil {
			return nil, err
		}
		r.keys = append(r.keys, all[i]...)
	}
	data, err := s.retrieveAll(ctx, &r, req.Keys, all)
	if lost := s.record(ctx, configuration.ConfigService_RetrieveConfigs_FullMethodName, r); lost != nil {
		return nil, lost
	}
	if err != nil {
		return nil, err
	}
	return &configuration.RetrieveConfigResponses{Data: data}, nil
}

// sampleRead is what a call asks for, and the revision that it is answered from, 0
// while it is not.
type sampleRead struct {
	asked
	revision uint64
}

func (r *sampleRead) searches(prefixes []ledger.Prefix) {
	for _, p := range prefixes {
		r.prefixes = append(r.prefixes, string(p))
	}
}

// record is called by the handlers: the answers have no place for the revision.
func (s sampleService) record(ctx context.Context, method string, r sampleRead) error {
	return s.g.record(ctx, callerOf(ctx).tenant, method, r.asked, r.revision)
}

// sampleKeys are the ledger's keys that a key of a request may mean, the first that
// is set counts.
func sampleKeys(key, field string) ([]string, error) {
	tag, name, ok := tenantTag, "", false
	if name, ok = strings.CutPrefix(key, sampleTenantTag); !ok {
		tag = paramTag
		name, ok = strings.CutPrefix(key, sampleParamTag)
	}
	if !ok {
		return nil, ledger.Invalid(field, fmt.Sprintf("%q begins with neither %s nor %s", key, sampleTenantTag, sampleParamTag))
	}
	if _, err := ledger.ParseKey(key); err != nil {
		return nil, ledger.Invalid(field, err.Error())
	}
	if _, err := ledger.ParseKey(tag + name); err != nil { // e.g. too long by a byte
		return []string{key}, nil
	}
	return []string{key, tag + name}, nil
}

// retrieve reads what RetrieveConfig was asked for, which is noted in r. A parameter
// is that of the key by itself, or else that of the service.
func (s sampleService) retrieve(ctx context.Context, r *sampleRead, req *configuration.RetrieveConfigRequest) (*configuration.TenantParamConfig, error) {
	name, param := strings.CutPrefix(req.Key, sampleParamTag)
	var services []ledger.Prefix
	if param && req.ServiceName != "" {
		for _, tag := range []string{sampleParamTag, paramTag} {
			p, err := ledger.ParsePrefix(tag + req.ServiceName + "/")
			if err != nil {
				return nil, ledger.Invalid("serviceName", err.Error())
			}
			services = append(services, p)
			r.keys = append(r.keys, string(p)+name)
		}
	}
	v, err := s.g.view(ctx, replica.At{}, 0)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	if req.Key == allParameters {
		r.keys = nil
		r.searches(services)
		parameters, err := parametersOf(v, services)
		switch {
		case err != nil:
			return nil, err
		case len(parameters) == 0:
			return nil, ledger.Invalid("serviceName", fmt.Sprintf("%s has no parameters of %q", callerOf(ctx).tenant, req.ServiceName))
		}
		r.revision = uint64(v.State().Revision)
		return &configuration.TenantParamConfig{Parameters: parameters}, nil
	}
	e, ok, err := firstOf(v, r.keys)
	if err == nil && !ok && param {
		r.searches(services)
		e, ok, err = parameterOf(v, services, name)
	}
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, ledger.NotFound("%s is not set in %s%s", req.Key, callerOf(ctx).tenant, v.State().Revision)
	case param:
		r.revision = uint64(v.State().Revision)
		return &configuration.TenantParamConfig{Parameters: []*configuration.Secret{{Key: name, Value: plainText(e.Value)}}}, nil
	}
	config, err := sampleConfigs(e.Value)
	if err != nil {
		return nil, ledger.Invalid("key", fmt.Sprintf("what %s is set to cannot be told as a Config: %v; ask for it by retrieveConfigs, which returns it as text", e.Key, err))
	}
	r.revision = uint64(v.State().Revision)
	return &configuration.TenantParamConfig{Tenant: &configuration.Configuration{
		Pk: "TENANT#" + string(callerOf(ctx).tenant), Sk: "CONFIG#" + strings.TrimPrefix(req.Key, sampleTenantTag), Config: config,
	}}, nil
}

// retrieveAll reads the keys, each of which may mean some of the ledger's.
func (s sampleService) retrieveAll(ctx context.Context, r *sampleRead, keys []string, meant [][]string) (map[string]string, error) {
	v, err := s.g.view(ctx, replica.At{}, 0)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	data := make(map[string]string, len(keys))
	size := 0
	for i, k := range keys {
		e, ok, err := firstOf(v, meant[i])
		switch {
		case err != nil:
			return nil, err
		case !ok:
			return nil, ledger.NotFound("%s is not set in %s%s", k, callerOf(ctx).tenant, v.State().Revision)
		}
		if size += len(e.Key) + len(e.Value); size > MaxMessage {
			return nil, errTooMuch
		}
		if name, param := strings.CutPrefix(k, sampleParamTag); param {
			k = fmt.Sprintf("/config-service/%s/%s/%s", callerOf(ctx).tenant, s.g.cfg.Environment, name)
		}
		data[k] = plainText(e.Value)
	}
	r.revision = uint64(v.State().Revision)
	return data, nil
}

var errTooMuch = fmt.Errorf("%w: the values have more than %d bytes together: ask for fewer keys at a time", errTooLarge, MaxMessage)

// firstOf is the first of the keys that is set.
func firstOf(v *replica.View, keys []string) (e replica.Entry, ok bool, err error) {
	for _, k := range keys {
		if e, ok, err = v.Get(k); ok || err != nil {
			return e, ok, err
		}
	}
	return e, false, nil
}
