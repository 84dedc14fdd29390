package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"strconv"

	"google.golang.org/protobuf/proto"
)

// RequestName is a request id, the idempotency key of a write, with its author. Authors do not
// share ids: a writer must not be
// able to use another author's id, or to learn the outcome of its request. It is empty without
// an id.
type RequestName string

// requestName separates kinds of authors that can have the same name: a tenant's own,
// operators, the ledger itself, which moves pins, and the authors of imports. An importer
// names those, so its own name is part of the request's: otherwise one importer could use
// up the ids of another one, whose changes would then be taken for written.
func requestName(author string, byOperator bool, origin Origin, id string) RequestName {
	if id == "" {
		return ""
	}
	kind := "own"
	if byOperator {
		kind = "operator"
	}
	switch o := origin.(type) {
	case *ImportOrigin:
		kind += " import " + delimited(o.Importer)
	case *BaseOrigin:
		kind = "base"
	}
	return RequestName(kind + " " + delimited(author) + id)
}

// delimited is a text after its length, so that no other text follows from what comes next.
func delimited(text string) string { return strconv.Itoa(len(text)) + " " + text }

// RequestName is the name of the request that made the commit.
func (c *Commit) RequestName() RequestName {
	return requestName(c.Author, c.ByOperator, c.Origin, c.RequestID)
}

func (cs *ChangeSet) requestName() RequestName {
	origin := cs.Origin
	if cs.Import != nil {
		origin = &ImportOrigin{Importer: cs.Import.Importer}
	}
	return requestName(cs.Author, cs.ByOperator, origin, cs.RequestID)
}

// RequestError is a request id that its author has used before, for something else.
// Nothing was written.
type RequestError struct {
	Tenant    Tenant
	RequestID string
	// Revision is what the earlier request has made.
	Revision Revision
}

func (e *RequestError) Error() string {
	return fmt.Sprintf("the request id %q was used for another change set, which is %s%s: use a new id", e.RequestID, e.Tenant, e.Revision)
}

// requestHash is the hash of a change set's message and changes, and of the origin that its
// writer names. Conditions are not part of it, because a caller that retries may have read newer
// revisions meanwhile. Secrets are not part of it either: the hash is in the journal, so a guess
// could be checked against it; see sameSecrets.
func (p *Pending) requestHash() ([]byte, error) {
	h := sha256.New()
	hashText(h, "changes", p.set.Message)
	if p.set.Origin != nil {
		b, err := encodeOrigin(p.set.Origin)
		if err != nil {
			return nil, err
		}
		hashText(h, "origin", string(b))
	}
	for i, ch := range p.plain {
		switch {
		case ch.Delete:
			hashText(h, "delete", string(ch.Key))
		case p.sealed(i):
			hashText(h, "secret", string(ch.Key))
		default:
			hashText(h, "set", string(ch.Key), string(ch.Value))
		}
	}
	return h.Sum(nil), nil
}

// requestHash is the hash of a rollback, revert or copy request. The changes that it makes depend
// on the head.
func (r *Request) requestHash(origin Origin) ([]byte, error) {
	b, err := encodeOrigin(origin)
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	hashText(h, "restore", r.Message, string(b))
	return h.Sum(nil), nil
}

func encodeOrigin(o Origin) ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(o.proto())
	if err != nil {
		return nil, fmt.Errorf("encode an origin: %w", err)
	}
	return b, nil
}

// hashText adds texts so that no others have the same bytes.
func hashText(h hash.Hash, texts ...string) {
	var b []byte
	for _, t := range texts {
		b = append(binary.AppendUvarint(b, uint64(len(t))), t...)
	}
	h.Write(b)
}

// repeats is nil if the commit has the content of the pending change set, and otherwise a
// *RequestError. The request id of an import is the identity of a change in its source,
// so an import that its importer runs again repeats it, even if other changes would now lead
// there.
func (p *Pending) repeats(ctx context.Context, cfg *Config, c *Commit) error {
	if p.set.Import != nil {
		return nil
	}
	same := bytes.Equal(c.RequestHash, p.set.requestHash)
	if same {
		var err error
		if same, err = p.sameSecrets(ctx, cfg, c); err != nil {
			return err
		}
	}
	if !same {
		return &RequestError{c.Tenant, c.RequestID, c.Revision}
	}
	return nil
}

// sealed reports whether Config.Seal has replaced the value of a change.
func (p *Pending) sealed(i int) bool { return p.plain[i].Value != p.set.Changes[i].Value }

// sameSecrets reports whether the commit sets the secrets that the request asks for. Two
// encryptions of a value differ, so they are opened.
func (p *Pending) sameSecrets(ctx context.Context, cfg *Config, c *Commit) (bool, error) {
	if restores(p.set.Origin) {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, journalTimeout)
	defer cancel()
	stored := make(map[Key]Value)
	for _, ch := range c.Changes {
		stored[ch.Key] = ch.Value
	}
	for i, ch := range p.plain {
		if !p.sealed(i) {
			continue
		}
		same, err := cfg.SealedFrom(ctx, c.Tenant, ch.Key, stored[ch.Key], ch.Value)
		if err != nil {
			return false, fmt.Errorf("%w: compare %s with the earlier request: %w", ErrUnchecked, ch.Key, err)
		}
		if !same {
			return false, nil
		}
	}
	return true, nil
}
