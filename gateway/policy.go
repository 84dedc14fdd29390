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
// e.g. {"record":["paramconfig/secrets/"]}.
//
// They are those of the revision of that tenant that the replica holds when they
// are asked for, so a change is in force as soon as the replica has applied it.
type policies struct {
	replica *replica.Replica
	log     *slog.Logger

	loaded  atomic.Pointer[policySet]
	loading sync.Mutex // one load at a time
}

// policySet is the policies of one revision.
type policySet struct {
	revision ledger.Revision
	// record has the prefixes under which a tenant's reads are recorded.
	record map[ledger.Tenant][]ledger.Prefix
}

const (
	policyPrefix = "policy/"
	readsPolicy  = "/reads"
)

// recorded are the prefixes under which the tenant's reads are recorded. The
// error is ledger.ErrUnavailable while the replica does not hold the policies:
// no read may be answered then.
func (p *policies) recorded(t ledger.Tenant) ([]ledger.Prefix, error) {
	set := p.loaded.Load()
	if set == nil || set.revision != p.replica.Head(ledger.System).Revision {
		var err error
		if set, err = p.load(); err != nil {
			return nil, fmt.Errorf("read the policies: %w", err)
		}
	}
	return set.record[t], nil
}

func (p *policies) load() (*policySet, error) {
	p.loading.Lock()
	defer p.loading.Unlock()
	v, err := p.replica.View(ledger.System, replica.At{})
	if err != nil {
		return nil, err
	}
	defer v.Close()
	if set := p.loaded.Load(); set != nil && set.revision == v.State().Head {
		return set, nil
	}
	set := &policySet{revision: v.State().Head, record: make(map[ledger.Tenant][]ledger.Prefix)}
	err = v.List(policyPrefix, "", func(e replica.Entry) bool {
		name, ours := strings.CutSuffix(strings.TrimPrefix(e.Key, policyPrefix), readsPolicy)
		if !ours {
			return true
		}
		t, err := ledger.ParseTenant(name)
		if err != nil {
			p.log.Error("a policy for no tenant has no effect", "key", e.Key, "revision", e.Revision, "reason", err)
			return true
		}
		if set.record[t], err = parseReadsPolicy(e.Value); err != nil {
			p.log.Error("a policy cannot be read: every read of its tenant is recorded until it is mended", "key", e.Key, "revision", e.Revision, "reason", err)
			set.record[t] = []ledger.Prefix{""}
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	p.loaded.Store(set)
	return set, nil
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
