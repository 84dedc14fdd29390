package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/go-json-experiment/json"
	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/replica"
)

// policies knows what the tenants' policies are. They are values of the ledger's
// own tenant: policy/<tenant>/reads says which reads of the tenant are recorded,
// e.g. {"record":["paramconfig/secrets/"]}, policy/<tenant>/grants who may do what,
// and policy/<tenant>/limits how much; policy/limits is for those without their own.
//
// They are those of the revision of that tenant that the replica holds when they
// are asked for, so a change is in force as soon as the replica has applied it.
type policies struct {
	replica *replica.Replica
	log     *slog.Logger

	loaded  atomic.Pointer[policySet]
	loading sync.Mutex // one load at a time

	mu    sync.Mutex
	moved chan struct{} // closed, and made anew, when policies may have changed
}

// policySet is the policies of one revision.
type policySet struct {
	revision ledger.Revision
	// record has the prefixes under which a tenant's reads are recorded.
	record map[ledger.Tenant][]ledger.Prefix
	// grants of those tenants that have some; nil for some that cannot be read.
	grants map[ledger.Tenant]grants
	// limits of those tenants that have some, and those of all others.
	limits map[ledger.Tenant]limits
	usual  limits
}

// limitsOf are those that bind the tenant.
func (s *policySet) limitsOf(t ledger.Tenant) limits {
	if l, own := s.limits[t]; own {
		return l
	}
	return s.usual
}

const policyPrefix = "policy/"

// usualLimits is the key of the limits of tenants without their own.
const usualLimits = policyPrefix + string(limitsPolicy)

// policyKind is the last part of a policy's key.
type policyKind string

const (
	readsPolicy  policyKind = "reads"
	grantsPolicy policyKind = "grants"
	limitsPolicy policyKind = "limits"
)

func (k policyKind) key(t ledger.Tenant) ledger.Key {
	return ledger.Key(policyPrefix + string(t) + "/" + string(k))
}

// parsePolicyKey finds the tenant that a policy is for, and its kind.
func parsePolicyKey(key string) (ledger.Tenant, policyKind, error) {
	name, kind, _ := strings.Cut(strings.TrimPrefix(key, policyPrefix), "/")
	t, err := ledger.ParseTenant(name)
	return t, policyKind(kind), err
}

func newPolicies(r *replica.Replica, log *slog.Logger) *policies {
	return &policies{replica: r, log: log, moved: make(chan struct{})}
}

// changed is closed when policies may have changed since it was asked for.
func (p *policies) changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.moved
}

// announce closes what changed has returned.
func (p *policies) announce() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.moved)
	p.moved = make(chan struct{})
}

// recorded are the prefixes under which the tenant's reads are recorded. The
// error is that of current.
func (p *policies) recorded(t ledger.Tenant) ([]ledger.Prefix, error) {
	set, err := p.current()
	if err != nil {
		return nil, err
	}
	return set.record[t], nil
}

// current are the policies in force. The error is ledger.ErrUnavailable while the
// replica does not hold them: nothing may be answered then.
func (p *policies) current() (*policySet, error) {
	set := p.loaded.Load()
	if set == nil || set.revision != p.replica.Head(ledger.System).Revision {
		var err error
		if set, err = p.load(); err != nil {
			return nil, fmt.Errorf("read the policies: %w", err)
		}
	}
	return set, nil
}

func (p *policies) load() (*policySet, error) {
	p.loading.Lock()
	defer p.loading.Unlock()
	v, err := p.replica.View(ledger.System, replica.At{})
	if err != nil {
		return nil, err
	}
	defer v.Close()
	before := p.loaded.Load()
	if before != nil && before.revision == v.State().Head {
		return before, nil
	}
	if before == nil {
		before = &policySet{}
	}
	set := &policySet{revision: v.State().Head, record: make(map[ledger.Tenant][]ledger.Prefix), grants: make(map[ledger.Tenant]grants), limits: make(map[ledger.Tenant]limits)}
	err = v.List(policyPrefix, "", func(e replica.Entry) bool {
		p.read(set, before, e)
		return true
	})
	if err != nil {
		return nil, err
	}
	p.loaded.Store(set)
	return set, nil
}

// read puts a policy into the set. One that cannot be read is as strict as it
// could be, or where that would stop a tenant that does no harm, what it was before.
func (p *policies) read(set, before *policySet, e replica.Entry) {
	if e.Key == usualLimits {
		var err error
		if set.usual, err = parseLimits(e.Value); err != nil {
			p.log.Error("a policy cannot be read: the limits before stay until it is mended", "key", e.Key, "revision", e.Revision, "reason", err)
			set.usual = before.usual
		}
		return
	}
	t, kind, err := parsePolicyKey(e.Key)
	if err != nil {
		p.log.Error("a policy for no tenant has no effect", "key", e.Key, "revision", e.Revision, "reason", err)
		return
	}
	switch kind {
	case readsPolicy:
		if set.record[t], err = parseReadsPolicy(e.Value); err != nil {
			p.log.Error("a policy cannot be read: every read of its tenant is recorded until it is mended", "key", e.Key, "revision", e.Revision, "reason", err)
			set.record[t] = []ledger.Prefix{""}
		}
	case grantsPolicy:
		if set.grants[t], err = parseGrants(e.Value); err != nil {
			p.log.Error("a policy cannot be read: nobody but operators may do anything in its tenant until it is mended", "key", e.Key, "revision", e.Revision, "reason", err)
			set.grants[t] = nil
		}
	case limitsPolicy:
		if set.limits[t], err = parseLimits(e.Value); err != nil {
			p.log.Error("a policy cannot be read: its tenant's limits before stay until it is mended", "key", e.Key, "revision", e.Revision, "reason", err)
			set.limits[t] = before.limitsOf(t)
		}
	}
}

// CheckPolicies is a ledger's Config.Check: a policy must be one that can be read.
func CheckPolicies(t ledger.Tenant, changes []ledger.Change) error {
	for i, c := range changes {
		if t != ledger.System || c.Delete || !strings.HasPrefix(string(c.Key), policyPrefix) {
			continue
		}
		if err := checkPolicy(string(c.Key), string(c.Value)); err != nil {
			return ledger.Invalid(fmt.Sprintf("changes[%d].value", i), fmt.Sprintf("%s: %v", c.Key, err))
		}
	}
	return nil
}

func checkPolicy(key, value string) error {
	if key == usualLimits {
		_, err := parseLimits(value)
		return err
	}
	t, kind, err := parsePolicyKey(key)
	switch {
	case err != nil:
		return err
	case kind == readsPolicy:
		_, err = parseReadsPolicy(value)
	case kind != grantsPolicy && kind != limitsPolicy:
		err = fmt.Errorf("there is no policy %q: use %s, %s or %s", kind, readsPolicy, grantsPolicy, limitsPolicy)
	case t.Reserved():
		err = fmt.Errorf("only operators may act for it, and %s do not bind them", kind)
	case kind == grantsPolicy:
		_, err = parseGrants(value)
	default:
		_, err = parseLimits(value)
	}
	return err
}

// parseReadsPolicy reads the prefixes. What it does not know is an error: it may
// be a prefix with its name misspelt.
func parseReadsPolicy(value string) ([]ledger.Prefix, error) {
	var policy struct {
		Record []string `json:"record"`
	}
	if err := json.Unmarshal([]byte(value), &policy, json.RejectUnknownMembers(true)); err != nil {
		return nil, err
	}
	if policy.Record == nil {
		return nil, errors.New(`it has no "record"`)
	}
	prefixes := make([]ledger.Prefix, len(policy.Record))
	for i, s := range policy.Record {
		var err error
		if prefixes[i], err = ledger.ParsePrefix(s); err != nil {
			return nil, fmt.Errorf("record[%d]: %w", i, err)
		}
	}
	return prefixes, nil
}
