package ledger

import (
	"fmt"
	"slices"
	"time"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Commit is a change set that is in the ledger, with the bytes that prove it.
type Commit struct {
	ID CommitID
	// Encoded is the commit as it is in the journal; ID is its hash.
	Encoded []byte

	Epoch    Epoch
	Tenant   Tenant
	Revision Revision
	// Parent is the zero CommitID for revision 1.
	Parent    CommitID
	Time      time.Time
	Author    string
	Message   string
	RequestID string
	// RequestHash is the hash of the request's content; empty without a RequestID.
	RequestHash []byte
	// ByOperator is set if the author is an operator who acted for the tenant.
	ByOperator bool
	// Origin is nil for an ordinary write.
	Origin Origin
	// Changes in the order in which the writer gave them.
	Changes []Change
}

// Head is the tenant's head when this commit is its newest.
func (c *Commit) Head(seq Sequence) Head {
	return Head{Revision: c.Revision, ID: c.ID, Time: c.Time.UnixNano(), Sequence: seq}
}

// ResetsClock reports whether the commit is marked as one whose time may be before its
// parent's.
func (c *Commit) ResetsClock() bool { return resetsClock(c.Origin) }

// Touches reports whether the commit sets or deletes the key.
func (c *Commit) Touches(k Key) bool {
	return slices.ContainsFunc(c.Changes, func(ch Change) bool { return ch.Key == k })
}

// Proto is the commit as the API shows it, without the hash of its request: some of the
// hashed values may be secret by now.
func (c *Commit) Proto() *stelev1.Commit {
	p := &stelev1.Commit{
		Epoch:     c.Epoch[:],
		Tenant:    string(c.Tenant),
		Revision:  uint64(c.Revision),
		Time:      timestamppb.New(c.Time),
		Author:    c.Author,
		Message:   c.Message,
		RequestId: c.RequestID,
		Changes:   ChangesProto(c.Changes),

		ByOperator: c.ByOperator,
	}
	if c.Revision > 1 {
		p.Parent = c.Parent[:]
	}
	p.Origin = OriginProto(c.Origin)
	return p
}

// ChangesProto is changes as the API and the journal show them.
func ChangesProto(changes []Change) []*stelev1.Change {
	all := make([]stelev1.Change, len(changes)) // one allocation for all
	out := make([]*stelev1.Change, len(changes))
	for i, ch := range changes {
		all[i].Key = string(ch.Key)
		all[i].Value = string(ch.Value)
		all[i].Delete = ch.Delete
		all[i].PreviousRevision = uint64(ch.Previous)
		all[i].Base = ch.Base.Proto()
		out[i] = &all[i]
	}
	return out
}

// seal writes the commit's bytes, once, and its id.
func (c *Commit) seal() error {
	p := c.Proto()
	p.RequestHash = c.RequestHash
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode commit %s%s: %w", c.Tenant, c.Revision, err)
	}
	c.Encoded, c.ID = b, IDOf(b)
	return nil
}

// DecodeCommit reads a commit's stored bytes and checks everything that can be
// checked without its parent. The commit keeps encoded.
func DecodeCommit(encoded []byte) (*Commit, error) {
	var p stelev1.Commit
	if err := proto.Unmarshal(encoded, &p); err != nil {
		return nil, fmt.Errorf("decode commit: %w", err)
	}
	c := &Commit{
		ID:        IDOf(encoded),
		Encoded:   encoded,
		Revision:  Revision(p.Revision),
		Time:      p.Time.AsTime(),
		Author:    p.Author,
		Message:   p.Message,
		RequestID: p.RequestId, RequestHash: p.RequestHash,
		Changes: make([]Change, len(p.Changes)),

		ByOperator: p.ByOperator,
	}
	if len(p.Epoch) != len(c.Epoch) {
		return nil, fmt.Errorf("decode commit: epoch has %d bytes, not %d", len(p.Epoch), len(c.Epoch))
	}
	copy(c.Epoch[:], p.Epoch)
	var err error
	if c.Tenant, err = ParseTenant(p.Tenant); err != nil {
		return nil, fmt.Errorf("decode commit: %w", err)
	}
	if c.Revision == 0 {
		return nil, fmt.Errorf("decode commit of %s: it has no revision", c.Tenant)
	}
	if c.Revision > 1 && len(p.Parent) != len(c.Parent) || c.Revision == 1 && len(p.Parent) > 0 {
		return nil, fmt.Errorf("decode commit %s%s: its parent has %d bytes", c.Tenant, c.Revision, len(p.Parent))
	}
	copy(c.Parent[:], p.Parent)
	if err := p.Time.CheckValid(); err != nil {
		return nil, fmt.Errorf("decode commit %s%s: time: %w", c.Tenant, c.Revision, err)
	}
	if !time.Unix(0, c.Time.UnixNano()).Equal(c.Time) {
		return nil, fmt.Errorf("decode commit %s%s: its time %s does not fit into nanoseconds", c.Tenant, c.Revision, c.Time)
	}
	c.Origin = originOf(p.Origin)
	for i, ch := range p.Changes {
		key, err := ParseKey(ch.Key)
		if err != nil {
			return nil, fmt.Errorf("decode commit %s%s: %w", c.Tenant, c.Revision, err)
		}
		c.Changes[i] = Change{Key: key, Value: Value(ch.Value), Delete: ch.Delete, Previous: Revision(ch.PreviousRevision)}
	}
	return c, nil
}

// DecodeRecord splits a journal message's body into its commits, in their order. The
// commits of a tenant are next to each other, in one chain.
func DecodeRecord(body []byte) ([]*Commit, error) {
	var r stelev1.Record
	if err := proto.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("decode record: %w", err)
	}
	if len(r.Commits) == 0 {
		return nil, fmt.Errorf("decode record: it holds no commit")
	}
	commits := make([]*Commit, len(r.Commits))
	seen := make(map[Tenant]bool)
	for i, b := range r.Commits {
		c, err := DecodeCommit(b)
		if err != nil {
			return nil, err
		}
		if i > 0 && c.Tenant == commits[i-1].Tenant {
			if err := c.Follows(commits[i-1].Head(0)); err != nil {
				return nil, err
			}
		} else if seen[c.Tenant] {
			// Each of the two might continue the tenant's head: a fork in one record.
			return nil, &ChainError{Tenant: c.Tenant, Revision: c.Revision, Reason: "its record holds the tenant's commits in two places"}
		}
		seen[c.Tenant] = true
		commits[i] = c
	}
	return commits, nil
}

// encodeRecord is the body of one journal message: a stelev1.Record.
func encodeRecord(commits []*Commit) []byte {
	size := 0
	for _, c := range commits {
		size += len(c.Encoded) + headRoom
	}
	body := make([]byte, 0, size)
	for _, c := range commits {
		body = append(AppendRecordItem(body, len(c.Encoded)), c.Encoded...)
	}
	return body
}

// AppendRecordItem appends the encoding that precedes a commit of that many bytes in a record,
// so that a record can be compared with commits without decoding it.
func AppendRecordItem(b []byte, length int) []byte {
	return protowire.AppendVarint(append(b, 1<<3|byte(protowire.BytesType)), uint64(length))
}

// ChainError is a commit that does not continue the history that was seen: the
// journal was cut, restored from a backup, forked or damaged.
type ChainError struct {
	Tenant   Tenant
	Revision Revision
	Reason   string
}

func (e *ChainError) Error() string {
	return fmt.Sprintf("commit %s%s contradicts what was seen: %s", e.Tenant, e.Revision, e.Reason)
}

// Follows checks that the commit is the one after head.
func (c *Commit) Follows(head Head) error {
	broken := func(format string, args ...any) error {
		return &ChainError{c.Tenant, c.Revision, fmt.Sprintf(format, args...)}
	}
	switch {
	case c.Revision != head.Revision+1:
		return broken("it comes after %s", head.Revision)
	case c.Parent != head.ID:
		return broken("its parent is %s, the commit before it is %s", c.Parent, head.ID)
	case c.Time.UnixNano() < head.Time && !c.ResetsClock():
		return broken("its time %s is before its parent's", c.Time.Format(time.RFC3339Nano))
	}
	return nil
}
