package awssample

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/stelehq/stele/internal/gateway/apierror"
	"github.com/stelehq/stele/internal/gateway/conn"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/gateway/redact"
	"github.com/stelehq/stele/internal/gateway/view"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/ledger/secret"
	"github.com/stelehq/stele/schemas/configuration"
)

// read is one call, and its reads to record: the keys and prefixes of the
// ledger's that were read, and the revision of the answer, 0 without one. It reads no
// key that the caller may not read.
type read struct {
	policy.Asked
	revision uint64

	cfg           Config
	c             policy.Caller
	sees, reveals policy.Scope
	view          *replica.View
	redact        redact.Redactor
}

// permit is nil when some of the keys, or some below the prefixes, are the caller's
// to read. Whether one is set does not matter.
func (r *read) permit(keys []ledger.Key, services []ledger.Prefix) (err error) {
	if r.sees, err = r.cfg.Policy.Scope(r.c, policy.ToRead); err != nil {
		return err
	}
	for _, p := range services {
		if len(r.sees.Within([]ledger.Pattern{ledger.Pattern(p)})) > 0 {
			return nil
		}
		keys = append(keys, ledger.Key(p))
	}
	if len(keys) == 0 || slices.ContainsFunc(keys, r.sees.Key) {
		return nil
	}
	return r.cfg.Policy.MayOn(r.c, policy.ToRead, string(keys[0]))
}

// open opens the tenant's state. A request for a secret by this interface asks to have
// it revealed: its callers have no other way to ask.
func (r *read) open(ctx context.Context) (err error) {
	if r.reveals, err = r.cfg.Policy.Scope(r.c, policy.ToReveal); err != nil {
		return err
	}
	if r.redact, err = r.cfg.Redaction.For(ctx, len(r.reveals) > 0 && r.cfg.Redaction.Secrets != nil); err != nil {
		return err
	}
	r.view, err = r.cfg.Views.Open(ctx, replica.At{}, view.Seen{})
	return err
}

// retrieve reads the value that RetrieveConfig was asked for. A parameter is the key's
// own, or otherwise the service's.
func (r *read) retrieve(ctx context.Context, req *configuration.RetrieveConfigRequest) (*configuration.TenantParamConfig, error) {
	keys, services, err := targets(req)
	if err == nil {
		err = r.permit(keys, services)
	}
	if err == nil {
		err = r.open(ctx)
	}
	if err != nil {
		return nil, err
	}
	defer r.view.Close()
	data, err := r.find(req, keys, services)
	if err == nil {
		r.revision = uint64(r.view.State().Revision)
	}
	return data, err
}

func (r *read) find(req *configuration.RetrieveConfigRequest, keys []ledger.Key, services []ledger.Prefix) (*configuration.TenantParamConfig, error) {
	if req.Key == allParameters {
		return r.parameters(req.ServiceName, services)
	}
	name, param := strings.CutPrefix(req.Key, awsParamTag)
	e, ok, err := r.first(keys)
	if err == nil && !ok && param {
		e, ok, err = r.search(services, name)
	}
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, r.notSet(req.Key)
	}
	value, hidden, err := r.show(e)
	switch {
	case err != nil:
		return nil, err
	case param:
		return &configuration.TenantParamConfig{Parameters: []*configuration.Secret{{Key: name, Value: value.Text()}}}, nil
	case hidden:
		return nil, policy.Denied("%s is a secret of %s that %s is not allowed to reveal", e.Key, r.c.Tenant, r.c.Subject)
	}
	config, err := parseConfigs(value)
	if err != nil {
		return nil, ledger.Invalid("key", fmt.Sprintf("the value of %s cannot be returned as a Config: %v; use retrieveConfigs, which returns it as text", e.Key, err))
	}
	return &configuration.TenantParamConfig{Tenant: &configuration.Configuration{
		Pk: "TENANT#" + string(r.c.Tenant), Sk: "CONFIG#" + strings.TrimPrefix(req.Key, awsTenantTag), Config: config,
	}}, nil
}

// retrieveAll reads what RetrieveConfigs was asked for.
func (r *read) retrieveAll(ctx context.Context, keys []string) (map[string]string, error) {
	means := make([][]ledger.Key, len(keys))
	for i, k := range keys {
		var err error
		if means[i], err = keysFor(k, fmt.Sprintf("keys[%d]", i)); err != nil {
			return nil, err
		}
		if err := r.permit(means[i], nil); err != nil {
			return nil, err
		}
	}
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	defer r.view.Close()
	data := make(map[string]string, len(keys))
	size := 0
	for i, k := range keys {
		e, ok, err := r.first(means[i])
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, r.notSet(k)
		}
		value, _, err := r.show(e)
		if err != nil {
			return nil, err
		}
		if size += len(e.Key) + len(value); size > conn.MaxMessage {
			return nil, apierror.ErrManyBytes
		}
		if name, param := strings.CutPrefix(k, awsParamTag); param {
			k = fmt.Sprintf("/config-service/%s/%s/%s", r.c.Tenant, r.cfg.Environment, name)
		}
		data[k] = value.Text()
	}
	r.revision = uint64(r.view.State().Revision)
	return data, nil
}

func (r *read) notSet(key string) error {
	return ledger.NotFound("%s is not set in %s%s", key, r.c.Tenant, r.view.State().Revision)
}

// first is the first of the keys that is set.
func (r *read) first(keys []ledger.Key) (e replica.Entry, ok bool, err error) {
	for _, k := range keys {
		if !r.sees.Key(k) {
			continue
		}
		r.Keys = append(r.Keys, string(k))
		if e, ok, err = r.view.Get(k); ok || err != nil {
			return e, ok, err
		}
	}
	return e, false, nil
}

// search finds a service's parameter by the last segment of its key, which is all
// that the reference implementation goes by.
func (r *read) search(services []ledger.Prefix, name string) (replica.Entry, bool, error) {
	for _, p := range services {
		r.Prefixes = append(r.Prefixes, string(p))
		for e, err := range r.view.Keys(p, "") {
			if err != nil {
				return replica.Entry{}, false, err
			}
			if path.Base(string(e.Key)) == name && r.sees.Key(e.Key) {
				return r.view.Get(e.Key)
			}
		}
	}
	return replica.Entry{}, false, nil
}

// parameters are all of a service's.
func (r *read) parameters(service string, prefixes []ledger.Prefix) (*configuration.TenantParamConfig, error) {
	all := &configuration.TenantParamConfig{}
	size := 0
	for _, p := range prefixes {
		r.Prefixes = append(r.Prefixes, string(p))
		for e, err := range r.view.List(p, "") {
			if err != nil {
				return nil, err
			}
			if !r.sees.Key(e.Key) {
				continue
			}
			value, _, err := r.show(e)
			if err != nil {
				return nil, err
			}
			if size += len(e.Key) + len(value); size > conn.MaxMessage {
				return nil, fmt.Errorf("%w: the parameters of %s have more than %d bytes together: ask for one at a time", apierror.ErrTooLarge, service, conn.MaxMessage)
			}
			all.Parameters = append(all.Parameters, &configuration.Secret{Key: path.Base(string(e.Key)), Value: value.Text()})
		}
	}
	if len(all.Parameters) == 0 {
		return nil, ledger.Invalid("serviceName", fmt.Sprintf("%s has no parameters of %q", r.c.Tenant, service))
	}
	return all, nil
}

// show is a value as the caller may have it, and whether it is hidden.
func (r *read) show(e replica.Entry) (value ledger.Value, hidden bool, err error) {
	switch {
	case !r.redact.Secret(e.Key, e.Value):
		return e.Value, false, nil
	case r.redact.Reveal == nil || !r.reveals.Key(e.Key):
		return secret.Mask, true, nil
	}
	r.Revealed = true
	value, err = r.redact.Reveal(e.Base, e.Key, e.Value)
	return value, false, err
}
