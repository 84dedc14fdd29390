package replica

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/stelehq/stele/internal/ledger"
)

// Commits is the history of a view's tenant, up to the head that it had when the view was
// opened.
type Commits struct{ snap snapshot }

// Commit returns one commit. The error is a *ledger.RangeError when the view's
// head is older, and a *ledger.HistoryError when the commit is not kept. A commit before
// the history that is kept is there as long as it has set a value that is in force.
func (cs *Commits) Commit(rev ledger.Revision) (c *ledger.Commit, err error) {
	s := &cs.snap
	defer s.guard(&err)
	if rev == 0 || rev > s.head {
		return nil, &ledger.RangeError{Tenant: s.tenant, Revision: rev, Head: s.head}
	}
	if c, ok := s.tailCommit(rev); ok {
		return c.Commit, nil
	}
	if s.dropped(rev) {
		return nil, s.notKept(rev, time.Time{})
	}
	return readCommit(s.tx, s.tenant, rev)
}

// Summary is a commit without its changes, and its id. Its errors are those of Commit.
func (cs *Commits) Summary(rev ledger.Revision) (sum ledger.Summary, id ledger.CommitID, err error) {
	defer cs.snap.guard(&err)
	return cs.snap.summary(rev)
}

// ID is the id of the commit that led to a revision; the zero CommitID at revision 0. Its
// other errors are those of Commit.
func (cs *Commits) ID(rev ledger.Revision) (id ledger.CommitID, err error) {
	defer cs.snap.guard(&err)
	switch {
	case rev == 0:
		return id, nil
	case rev == cs.snap.head:
		return cs.snap.newest.ID, nil
	case rev > cs.snap.head:
		return id, &ledger.RangeError{Tenant: cs.snap.tenant, Revision: rev, Head: cs.snap.head}
	}
	if c, ok := cs.snap.tailCommit(rev); ok {
		return c.ID, nil
	}
	if cs.snap.dropped(rev) {
		if rev+1 == cs.snap.kept { // the first commit that is kept names it
			c, err := cs.Commit(cs.snap.kept)
			if err != nil {
				return id, err
			}
			return c.Parent, nil
		}
		return id, cs.snap.notKept(rev, time.Time{})
	}
	c, err := cs.snap.storedSummary(rev)
	return c.id, err
}

// FindID finds a commit by the first bytes of its id, at least four.
func (cs *Commits) FindID(id []byte) (rev ledger.Revision, err error) {
	s := &cs.snap
	defer s.guard(&err)
	if len(id) < idBytes {
		return 0, ledger.Invalid("id", fmt.Sprintf("give at least %d bytes of it", idBytes))
	}
	if r, ok := cs.tailID(id); ok {
		return r, nil
	}
	prefix := tenantKey(s.tenant)
	cursor := s.tx.Bucket(bucketIDs).Cursor()
	for k, b := cursor.Seek(prefix); bytes.HasPrefix(k, prefix); k, b = cursor.Next() {
		body, err := unseal(bucketIDs, k, b)
		if err != nil {
			return 0, err
		}
		first := ledger.Revision(binary.BigEndian.Uint64(k[len(prefix):])*idsBlock + 1)
		for i := 0; i+idBytes <= len(body); i += idBytes {
			r := first + ledger.Revision(i/idBytes)
			if r > s.head || !bytes.Equal(body[i:i+idBytes], id[:idBytes]) {
				continue
			}
			if s.dropped(r) {
				continue
			}
			c, err := cs.Commit(r)
			if err != nil {
				return 0, err
			}
			if bytes.HasPrefix(c.ID[:], id) {
				return r, nil
			}
		}
	}
	if s.kept > 1 {
		return 0, ledger.NotFound("%s has no commit since %s whose id begins with %x, and this gateway does not keep those before", s.tenant, s.kept, id)
	}
	return 0, ledger.NotFound("%s has no commit whose id begins with %x", s.tenant, id)
}

func (cs *Commits) tailID(id []byte) (ledger.Revision, bool) {
	s := &cs.snap
	s.store.mu.RLock()
	defer s.store.mu.RUnlock()
	for _, t := range []*tail{s.active, s.frozen} {
		if t == nil || t.tenants[s.tenant] == nil {
			continue
		}
		for _, c := range t.tenants[s.tenant].commits {
			if c.Revision > s.head { // applied since the view was opened
				break
			}
			if bytes.HasPrefix(c.ID[:], id) {
				return c.Revision, true
			}
		}
	}
	return 0, false
}

// Request finds the commit that a request made. One that is not kept is not found;
// that does no harm, because a replica that drops history takes no writes.
func (cs *Commits) Request(name ledger.RequestName) (rev ledger.Revision, ok bool, err error) {
	s := &cs.snap
	defer s.guard(&err)
	s.store.mu.RLock()
	rev, ok = s.active.request(s.tenant, name)
	s.store.mu.RUnlock()
	if !ok && s.frozen != nil {
		rev, ok = s.frozen.request(s.tenant, name)
	}
	if ok && rev <= s.head { // else it was applied since the view was opened
		return rev, true, nil
	}
	key := nameKey(s.tenant, name)
	b := s.lookup(&s.requests, bucketRequests, key)
	if b == nil {
		return 0, false, nil
	}
	rev, err = parseRevision(bucketRequests, key, b)
	return rev, err == nil, err
}
