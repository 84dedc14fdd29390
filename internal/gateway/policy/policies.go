package policy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/ledger/strictjson"
)

// Config has the dependencies of an Enforcer.
type Config struct {
	// Replica holds the ledger's own tenant, whose values the policies are.
	Replica *replica.Replica
	// ReadLog returns the log of recorded reads, or why it is unreachable now; nil
	// rejects reads that a policy has recorded.
	ReadLog func() (ReadLog, error)
	// History yields commits of a tenant, once the replica holds the revision atLeast. It
	// returns the error of yield.
	History func(ctx context.Context, t ledger.Tenant, revisions []uint64, atLeast uint64, yield func(*ledger.Commit) error) error
	// Refused counts requests over a limit, by the limit's name.
	Refused *prometheus.CounterVec
	// MaxUnsent is how many bytes of answers can wait for the callers of one tenant, at
	// most 128 MiB.
	MaxUnsent int64
	Log       *slog.Logger
}

// Enforcer applies the policies. They are those of the revision of the ledger's own
// tenant that the replica holds when a decision is made, so a change is in force as soon
// as the replica has applied it. It is safe for use by many goroutines.
type Enforcer struct {
	cfg    Config
	quotas *quotas

	loaded  atomic.Pointer[policySet]
	loading sync.Mutex // one load at a time

	mu    sync.Mutex
	moved chan struct{} // closed, and replaced, when policies may have changed
}

// New makes an Enforcer. It has nothing to close.
func New(cfg Config) *Enforcer {
	return &Enforcer{
		cfg: cfg, quotas: &quotas{refused: cfg.Refused, maxUnsent: min(cfg.MaxUnsent, maxUnsent), tenants: make(map[ledger.Tenant]*Quota)}, moved: make(chan struct{}),
	}
}

// policySet is the policies of one revision.
type policySet struct {
	revision ledger.Revision
	// record has the prefixes under which a tenant's reads are recorded.
	record map[ledger.Tenant]Scope
	// grants of those tenants that have some; nil for some that cannot be read.
	grants map[ledger.Tenant]grants
	// limits of the tenants that have some, and the default ones.
	limits map[ledger.Tenant]limits
	usual  limits
	// attach are the tenants that may make a tenant one of their bases.
	attach map[ledger.Tenant]subjects
	// revoked are the tokens that are not accepted.
	revoked revocations
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
const usualLimits ledger.Key = policyPrefix + ledger.Key(limitsPolicy)

// RevokedKey is the key of the revoked tokens.
const RevokedKey ledger.Key = policyPrefix + "revoked"

// GrantsKey is the key of a tenant's grants.
func GrantsKey(t ledger.Tenant) ledger.Key { return grantsPolicy.key(t) }

// policyKind is the last part of a policy's key.
type policyKind string

const (
	readsPolicy  policyKind = "reads"
	grantsPolicy policyKind = "grants"
	limitsPolicy policyKind = "limits"
	attachPolicy policyKind = "attach"
)

func (k policyKind) key(t ledger.Tenant) ledger.Key {
	return ledger.Key(policyPrefix + string(t) + "/" + string(k))
}

// parsePolicyKey finds the tenant that a policy is for, and its kind.
func parsePolicyKey(key ledger.Key) (ledger.Tenant, policyKind, error) {
	name, kind, _ := strings.Cut(strings.TrimPrefix(string(key), policyPrefix), "/")
	t, err := ledger.ParseTenant(name)
	return t, policyKind(kind), err
}

// Changed returns a channel that is closed when policies may have changed since the call.
func (e *Enforcer) Changed() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.moved
}

// Announce closes what Changed has returned.
func (e *Enforcer) Announce() {
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.moved)
	e.moved = make(chan struct{})
}

// RecordedBy are the prefixes under which the tenant's own policy records reads. The
// error is that of current.
func (e *Enforcer) RecordedBy(t ledger.Tenant) (Scope, error) {
	set, err := e.current()
	if err != nil {
		return nil, err
	}
	return set.record[t], nil
}

// current are the policies in force. The error is ledger.ErrUnavailable while the
// replica does not hold them: nothing may be answered then.
func (e *Enforcer) current() (*policySet, error) {
	set := e.loaded.Load()
	if set == nil || set.revision != e.cfg.Replica.SystemHead() {
		var err error
		if set, err = e.load(); err != nil {
			return nil, fmt.Errorf("read the policies: %w", err)
		}
	}
	return set, nil
}

func (e *Enforcer) load() (*policySet, error) {
	e.loading.Lock()
	defer e.loading.Unlock()
	v, err := e.cfg.Replica.View(ledger.System, replica.At{})
	if err != nil {
		return nil, err
	}
	defer v.Close()
	before := e.loaded.Load()
	if before != nil && before.revision == v.State().Head {
		return before, nil
	}
	if before == nil {
		before = &policySet{}
	}
	set := &policySet{revision: v.State().Head, record: make(map[ledger.Tenant]Scope), grants: make(map[ledger.Tenant]grants), limits: make(map[ledger.Tenant]limits), attach: make(map[ledger.Tenant]subjects)}
	for entry, err := range v.List(policyPrefix, "") {
		if err != nil {
			return nil, err
		}
		e.read(set, before, entry)
	}
	e.loaded.Store(set)
	return set, nil
}

// read puts a policy into the set. An invalid one is as strict as possible or, if that
// would stop an innocent tenant, stays what it was before.
func (e *Enforcer) read(set, before *policySet, entry replica.Entry) {
	if entry.Key == usualLimits {
		var err error
		if set.usual, err = parseLimits(entry.Value); err != nil {
			e.cfg.Log.Error("cannot read a policy: the previous limits stay in force until it is fixed", "key", entry.Key, "revision", entry.Revision, "reason", err)
			set.usual = before.usual
		}
		return
	}
	if entry.Key == RevokedKey {
		var err error
		if set.revoked, err = parseRevocations(entry.Value); err != nil {
			e.cfg.Log.Error("cannot read a policy: the previous revocations stay in force until it is fixed", "key", entry.Key, "revision", entry.Revision, "reason", err)
			set.revoked = before.revoked
		}
		return
	}
	t, kind, err := parsePolicyKey(entry.Key)
	if err != nil {
		e.cfg.Log.Error("a policy for no tenant has no effect", "key", entry.Key, "revision", entry.Revision, "reason", err)
		return
	}
	switch kind {
	case readsPolicy:
		if set.record[t], err = parseReadsPolicy(entry.Value); err != nil {
			e.cfg.Log.Error("cannot read a policy: every read of its tenant is recorded until it is fixed", "key", entry.Key, "revision", entry.Revision, "reason", err)
			set.record[t] = everywhere
		}
	case grantsPolicy:
		if set.grants[t], err = parseGrants(entry.Value); err != nil {
			e.cfg.Log.Error("cannot read a policy: only operators have access to its tenant until it is fixed", "key", entry.Key, "revision", entry.Revision, "reason", err)
			set.grants[t] = nil
		}
	case limitsPolicy:
		if set.limits[t], err = parseLimits(entry.Value); err != nil {
			e.cfg.Log.Error("cannot read a policy: the previous limits of its tenant stay in force until it is fixed", "key", entry.Key, "revision", entry.Revision, "reason", err)
			set.limits[t] = before.limitsOf(t)
		}
	case attachPolicy:
		if set.attach[t], err = parseAttachPolicy(entry.Value); err != nil {
			e.cfg.Log.Error("cannot read a policy: only operators can make its tenant a base of others until it is fixed", "key", entry.Key, "revision", entry.Revision, "reason", err)
			set.attach[t] = nil
		}
	}
}

// Check is a ledger's Config.Check: it refuses policies that are not valid.
func Check(t ledger.Tenant, changes []ledger.Change) error {
	for i, c := range changes {
		if t != ledger.System || c.Delete || !strings.HasPrefix(string(c.Key), policyPrefix) {
			continue
		}
		if err := checkPolicy(c.Key, c.Value); err != nil {
			return ledger.Invalid(fmt.Sprintf("changes[%d].value", i), fmt.Sprintf("%s: %v", c.Key, err))
		}
	}
	return nil
}

func checkPolicy(key ledger.Key, value ledger.Value) error {
	if key == usualLimits {
		_, err := parseLimits(value)
		return err
	}
	if key == RevokedKey {
		_, err := parseRevocations(value)
		return err
	}
	t, kind, err := parsePolicyKey(key)
	switch {
	case err != nil:
		return err
	case kind == readsPolicy:
		_, err = parseReadsPolicy(value)
	case kind != grantsPolicy && kind != limitsPolicy && kind != attachPolicy:
		err = fmt.Errorf("unknown policy %q: use %s, %s, %s or %s", kind, readsPolicy, grantsPolicy, limitsPolicy, attachPolicy)
	case kind == attachPolicy && t.Reserved():
		err = fmt.Errorf("%s cannot be a base", t)
	case kind == attachPolicy:
		_, err = parseAttachPolicy(value)
	case t.Reserved():
		err = fmt.Errorf("only operators may act for it, and %s do not bind them", kind)
	case kind == grantsPolicy:
		_, err = parseGrants(value)
	default:
		_, err = parseLimits(value)
	}
	return err
}

// parseReadsPolicy reads the prefixes. Unknown fields are errors, because they may be
// misspelled.
func parseReadsPolicy(value ledger.Value) (Scope, error) {
	var policy struct {
		Record []string `json:"record"`
	}
	if err := strictjson.Unmarshal([]byte(value), &policy, `it must be an object with "record"`); err != nil {
		return nil, err
	}
	if policy.Record == nil {
		return nil, errors.New(`it has no "record"`)
	}
	prefixes := make(Scope, len(policy.Record))
	for i, s := range policy.Record {
		var err error
		if prefixes[i], err = ledger.ParsePattern(s); err != nil {
			return nil, fmt.Errorf("record[%d]: %w", i, err)
		}
	}
	return prefixes, nil
}
