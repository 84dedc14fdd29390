package ledger

import (
	"context"
	"fmt"
	"iter"
	"strings"
)

// Copy asks to copy keys of a tenant: a key, or the keys below a prefix.
type Copy struct {
	// From and To are both keys, or both end with "/".
	From, To Name
	// Rename deletes the old keys.
	Rename bool
	Request
}

// RevealError is a secret that the author of a request may not reveal.
type RevealError struct{ Key Key }

func (e *RevealError) Error() string {
	return fmt.Sprintf("%s is a secret: copying or renaming it requires the permission to reveal it", e.Key)
}

// Copy copies or renames keys in one commit. Of a prefix, and for a rename, it takes the
// tenant's own values; a single key is also copied if its value is inherited. A new key may
// be inherited: the tenant overrides it then.
//
// Errors, in addition to those of Commit: ErrNotFound if there is nothing to copy;
// *ConflictError with the new keys that the tenant has set, or if the head is not the
// expected one; *RevealError for a secret.
func (l *Ledger) Copy(ctx context.Context, t Tenant, c Copy) (Restored, error) {
	if err := c.validate(); err != nil {
		return Restored{}, err
	}
	message := fmt.Sprintf("Copy %s to %s", c.From, c.To)
	if c.Rename {
		message = fmt.Sprintf("Rename %s to %s", c.From, c.To)
	}
	return l.restore(ctx, t, c.Request, &CopyOrigin{c.From, c.To, c.Rename}, func(s State) ([]Change, string, error) {
		changes, err := l.copied(ctx, t, s, c)
		return changes, message, err
	})
}

func (c *Copy) validate() error {
	var inv InvalidError
	for field, n := range map[string]Name{"from": c.From, "to": c.To} {
		switch key, err := ParseKey(strings.TrimSuffix(string(n), "/")); {
		case err != nil:
			inv.Add(field, err.Error())
		case key.Reserved():
			inv.Add(field, fmt.Sprintf("%s: keys that begin with \"_\" are the ledger's own and cannot be copied or renamed", n))
		}
	}
	if len(inv.Violations) == 0 && c.From.IsKey() != c.To.IsKey() {
		inv.Add("to", fmt.Sprintf("%s and %s: give two keys, or two prefixes that end with \"/\"", c.From, c.To))
	}
	if c.From == c.To {
		inv.Add("to", fmt.Sprintf("it is the same as from, %s", c.From))
	}
	return inv.OrNil()
}

// copied are the changes that copy what is set at the head of the state.
func (l *Ledger) copied(ctx context.Context, t Tenant, s State, c Copy) (changes []Change, err error) {
	conflict, size := ConflictError{Tenant: t}, 0
	for is, err := range c.sources(s) {
		if err != nil {
			return nil, err
		}
		to, err := ParseKey(string(c.To) + strings.TrimPrefix(string(is.Key), string(c.From)))
		if err != nil {
			return nil, Invalid("to", err.Error())
		}
		rev, set, err := s.Newest(to)
		if err != nil {
			return nil, err
		}
		if set {
			if conflict.Conflicts = append(conflict.Conflicts, Conflict{Key: to, Actual: rev}); len(conflict.Conflicts) == maxMoved {
				break
			}
			continue
		}
		value, err := l.cfg.Reseal(ctx, CopiedValue{Owner: is.Base.Owner(t), From: is.Key, Value: is.Value, Tenant: t, To: to, Viewer: c.Viewer})
		if err != nil {
			return nil, fmt.Errorf("copy %s: %w", is.Key, err)
		}
		added := []Change{{Key: to, Value: value}}
		if c.Rename {
			added = append(added, Change{Key: is.Key, Delete: true})
		}
		changes, size = append(changes, added...), size+weight(added)
		if len(changes) > MaxChanges || size > MaxChangeSet {
			return nil, Invalid("from", fmt.Sprintf("there are more than %d keys or %d bytes to change, which is more than one commit holds: name a longer prefix", MaxChanges, MaxChangeSet))
		}
	}
	switch {
	case len(conflict.Conflicts) > 0:
		return nil, &conflict
	case len(changes) == 0 && c.From.IsKey():
		return nil, NotFound("%s itself has not set %s", t, c.From)
	case len(changes) == 0:
		return nil, NotFound("%s itself has set no key below %s", t, c.From)
	}
	return changes, nil
}

// sources are the values to copy.
func (c *Copy) sources(s State) iter.Seq2[KeyVersion, error] {
	return func(yield func(KeyVersion, error) bool) {
		head := s.Head().Revision
		if c.From.IsKey() {
			version := s.Effective().Version
			if c.Rename {
				version = s.Version
			}
			if is, err := version(Key(c.From), head); err != nil || is.Value != "" {
				yield(KeyVersion{Key(c.From), is}, err)
			}
			return
		}
		for d, err := range s.Diff(0, head, Prefix(c.From), "") {
			if !yield(KeyVersion{d.Key, d.To}, err) || err != nil {
				return
			}
		}
	}
}

// CopiedValue is a stored value that is set for another key.
type CopiedValue struct {
	// Owner is the tenant that set the value for the key From.
	Owner Tenant
	From  Key
	Value Value
	// Tenant sets it for the key To.
	Tenant Tenant
	To     Key
	Viewer Viewer
}
