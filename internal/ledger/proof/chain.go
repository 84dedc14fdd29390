package proof

import (
	"fmt"

	"github.com/stelehq/stele/internal/ledger"
	"golang.org/x/mod/sumdb/tlog"
)

// InvalidError describes what failed verification. It wraps ErrInvalid.
type InvalidError struct {
	// The kind of input, for example "receipt".
	What string
	// Line counts from 1; 0 when it is about no line.
	Line int
	Err  error
}

func (e *InvalidError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s %v: %v", e.What, ErrInvalid, e.Err)
	}
	return fmt.Sprintf("%s %v: line %d: %v", e.What, ErrInvalid, e.Line, e.Err)
}

func (e *InvalidError) Unwrap() []error { return []error{ErrInvalid, e.Err} }

// Proven is a commit with the proof that it is a leaf of a tree.
type Proven struct {
	// Commit is its bytes, as they are in the journal.
	Commit []byte
	// Index is the leaf's place in the tree, from 0.
	Index int64
	// Path is RFC 6962's audit path.
	Path tlog.RecordProof
}

// Check proves that the commit is in the checkpoint's tree, and reads it.
func (p Proven) Check(c Checkpoint) (*ledger.Commit, error) {
	id := ledger.IDOf(p.Commit)
	if p.Index < 0 || p.Index >= c.Size {
		return nil, fmt.Errorf("leaf %d is not in a tree of %d", p.Index, c.Size)
	}
	if err := tlog.CheckRecord(p.Path, c.Size, c.Root, p.Index, tlog.Hash(id)); err != nil {
		return nil, fmt.Errorf("commit %s is not leaf %d of the checkpoint's tree", id, p.Index)
	}
	commit, err := ledger.DecodeCommit(p.Commit)
	if err != nil {
		return nil, err
	}
	if commit.Epoch != c.Epoch {
		return nil, fmt.Errorf("%w: commit %s%s is of %s, and the checkpoint of %s",
			ErrOtherLedger, commit.Tenant, commit.Revision, KeyName(commit.Epoch), KeyName(c.Epoch))
	}
	return commit, nil
}

// Chain checks a tenant's commits one after another: each is in the tree, after
// the one before it, and continues it.
type Chain struct {
	checkpoint Checkpoint
	tenant     ledger.Tenant
	next       ledger.Revision
	// head and index are those of the previous commit; index is -1 without one.
	head  ledger.Head
	index int64
}

// NewChain begins with the tenant's commit of revision from. When that is not 1,
// the commit before it is not known, and the first one's parent and time are
// taken as they are.
func NewChain(c Checkpoint, t ledger.Tenant, from ledger.Revision) *Chain {
	return &Chain{checkpoint: c, tenant: t, next: from, index: -1}
}

// Next checks the next commit, and reads it.
func (c *Chain) Next(p Proven) (*ledger.Commit, error) {
	commit, err := p.Check(c.checkpoint)
	if err != nil {
		return nil, err
	}
	switch {
	case commit.Tenant != c.tenant:
		return nil, fmt.Errorf("a commit of %s stands where one of %s must", commit.Tenant, c.tenant)
	case commit.Revision != c.next:
		return nil, fmt.Errorf("%s%s stands where %s must", commit.Tenant, commit.Revision, c.next)
	case p.Index <= c.index:
		return nil, fmt.Errorf("%s%s is leaf %d, and the commit before it is leaf %d", commit.Tenant, commit.Revision, p.Index, c.index)
	}
	if c.index >= 0 || c.next == 1 {
		if err := commit.Follows(c.head); err != nil {
			return nil, err
		}
	}
	c.head, c.index, c.next = commit.Head(0), p.Index, c.next+1
	return commit, nil
}

// Head is the newest commit that was checked.
func (c *Chain) Head() ledger.Head { return c.head }
