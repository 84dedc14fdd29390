package replica

import (
	"bytes"
	"cmp"
	"slices"
	"sort"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/tidwall/btree"
)

// tail holds the commits that are applied and not yet in the file. It only ever
// grows, under the store's lock; once frozen it never changes.
type tail struct {
	tenants map[ledger.Tenant]*tenantTail
	// records are the messages that the commits came in, in their order.
	records []tailRecord
	// ordered reports that the records are in the order of the journal. In a
	// replica with an upstream they may not be: it gets missed commits tenant by tenant.
	ordered bool
	// progress is how far the journal was followed when the tail was frozen.
	progress progress
	// bytes that it takes in memory, about, to know when to flush.
	bytes int
}

// tenantTail holds one tenant's newest commits without a gap.
type tenantTail struct {
	commits  []tailCommit
	keys     btree.Map[ledger.Key, []version] // each key's versions, oldest first
	requests map[ledger.RequestName]ledger.Revision
}

// tailRecord is a message's commits.
type tailRecord struct {
	sequence ledger.Sequence
	commits  []*ledger.Commit
}

type tailCommit struct {
	*ledger.Commit
	sequence ledger.Sequence
}

// version is the effect of one commit on one key.
type version struct {
	revision ledger.Revision
	change   int          // which of the commit's changes; known of versions in a tail
	value    ledger.Value // empty: deleted
}

func (v version) exported() ledger.Version {
	return ledger.Version{Revision: v.revision, Value: v.value}
}

// holds reports whether the message is, byte for byte, one that was applied.
func (t *tail) holds(m journal.Message) bool {
	i, found := slices.BinarySearchFunc(t.records, m.Sequence, func(r tailRecord, seq ledger.Sequence) int {
		return cmp.Compare(r.sequence, seq)
	})
	if !found {
		return false
	}
	rest := m.Record
	var item []byte
	for _, c := range t.records[i].commits {
		item = ledger.AppendRecordItem(item[:0], len(c.Encoded))
		for _, part := range [...][]byte{item, c.Encoded} {
			var ok bool
			if rest, ok = bytes.CutPrefix(rest, part); !ok {
				return false
			}
		}
	}
	return len(rest) == 0
}

func newTail() *tail { return &tail{tenants: make(map[ledger.Tenant]*tenantTail), ordered: true} }

func (t *tail) add(c *ledger.Commit, seq ledger.Sequence) {
	tt := t.tenants[c.Tenant]
	if tt == nil {
		tt = &tenantTail{requests: make(map[ledger.RequestName]ledger.Revision)}
		t.tenants[c.Tenant] = tt
	}
	tt.commits = append(tt.commits, tailCommit{c, seq})
	for i, ch := range c.Changes {
		versions, _ := tt.keys.Get(ch.Key)
		tt.keys.Set(ch.Key, append(versions, version{c.Revision, i, ch.Value}))
	}
	if name := c.RequestName(); name != "" {
		tt.requests[name] = c.Revision
	}
	t.bytes += footprint(c)
}

// footprint is the approximate memory of a commit in a tail: its stored bytes, its
// decoded form, and the indices.
func footprint(c *ledger.Commit) int {
	n := 500 + len(c.Encoded)
	for _, ch := range c.Changes {
		n += 200 + len(ch.Key) + len(ch.Value)
	}
	return n
}

// at finds the version in force at the revision, among those that the tail has.
func (t *tail) at(tenant ledger.Tenant, key ledger.Key, r ledger.Revision) (version, bool) {
	tt := t.tenants[tenant]
	if tt == nil {
		return version{}, false
	}
	versions, _ := tt.keys.Get(key)
	return inForce(versions, r)
}

func inForce(versions []version, r ledger.Revision) (version, bool) {
	after := sort.Search(len(versions), func(i int) bool { return versions[i].revision > r })
	if after == 0 {
		return version{}, false
	}
	return versions[after-1], true
}

// versions are the revisions that changed the key and are not after r, the newest
// first.
func (t *tail) versions(tenant ledger.Tenant, key ledger.Key, r ledger.Revision) []ledger.Revision {
	tt := t.tenants[tenant]
	if tt == nil {
		return nil
	}
	var out []ledger.Revision
	versions, _ := tt.keys.Get(key)
	for _, v := range slices.Backward(versions) {
		if v.revision <= r {
			out = append(out, v.revision)
		}
	}
	return out
}

func (t *tail) commit(tenant ledger.Tenant, r ledger.Revision) (tailCommit, bool) {
	tt := t.tenants[tenant]
	if tt == nil || r < tt.commits[0].Revision || r > tt.commits[len(tt.commits)-1].Revision {
		return tailCommit{}, false
	}
	return tt.commits[r-tt.commits[0].Revision], true
}

func (t *tail) request(tenant ledger.Tenant, name ledger.RequestName) (ledger.Revision, bool) {
	tt := t.tenants[tenant]
	if tt == nil {
		return 0, false
	}
	r, ok := tt.requests[name]
	return r, ok
}

// keyVersion is one key of a listing.
type keyVersion struct {
	key ledger.Key
	version
}

// scan appends up to n keys from the first at or after from, with the version in force
// at r. It returns the key to continue from, or "" at the end of the prefix.
func (t *tail) scan(tenant ledger.Tenant, prefix ledger.Prefix, from ledger.Key, r ledger.Revision, n int, out []keyVersion) ([]keyVersion, ledger.Key) {
	tt := t.tenants[tenant]
	if tt == nil {
		return out, ""
	}
	var next ledger.Key
	tt.keys.Ascend(from, func(key ledger.Key, versions []version) bool {
		switch {
		case !prefix.Match(key):
			return false
		case n == 0:
			next = key
			return false
		}
		n--
		if v, ok := inForce(versions, r); ok {
			out = append(out, keyVersion{key, v})
		}
		return true
	})
	return out, next
}

// recordsAfter are the records of the tail after a position.
func (t *tail) recordsAfter(after ledger.Sequence) []tailRecord {
	if t.ordered {
		i := sort.Search(len(t.records), func(i int) bool { return t.records[i].sequence > after })
		return t.records[i:]
	}
	var out []tailRecord
	for _, r := range t.records {
		if r.sequence > after {
			out = append(out, r)
		}
	}
	return out
}

// byTenant are the record's commits in the order in which the file holds them: a record's
// tenants are sorted by name. A reader that stops in the middle of a record can so
// continue after a flush.
func (r tailRecord) byTenant() []*ledger.Commit {
	order := func(a, b *ledger.Commit) int { return cmp.Compare(a.Tenant, b.Tenant) }
	if slices.IsSortedFunc(r.commits, order) {
		return r.commits
	}
	commits := slices.Clone(r.commits)
	slices.SortStableFunc(commits, order)
	return commits
}
