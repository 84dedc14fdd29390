package ledger

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// RevertError is a commit that cannot be reverted, because later ones have
// changed its keys.
type RevertError struct {
	Tenant    Tenant
	Conflicts []RevertConflict
}

// RevertConflict is a key that a later commit has changed.
type RevertConflict struct {
	Key Key
	// Reverted was to be reverted, and Later prevents it.
	Reverted, Later Revision
}

func (c RevertConflict) String() string {
	return fmt.Sprintf("%s: %s changed it after %s", c.Key, c.Later, c.Reverted)
}

func (e *RevertError) Error() string {
	parts := make([]string, len(e.Conflicts))
	for i, c := range e.Conflicts {
		parts[i] = c.String()
	}
	return fmt.Sprintf("cannot revert in %s: %s: also revert the later commits, or set the keys", e.Tenant, strings.Join(parts, "; "))
}

// undo finds the changes that undo commits. A key is restored across the versions
// that the commits have made, from the newest on; a version of theirs below another
// commit's cannot be undone.
func undo(t Tenant, s State, revisions []Revision) (changes []Change, message string, err error) {
	commits := make([]*Commit, len(revisions))
	for i, r := range revisions {
		if commits[i], err = s.Commit(r); err != nil {
			return nil, "", err
		}
	}
	// The newest first, so that a key's first mention is the one to undo first.
	slices.SortFunc(commits, func(a, b *Commit) int { return cmp.Compare(b.Revision, a.Revision) })
	conflict := RevertError{Tenant: t}
	diffs := make(map[Key]*KeyDiff) // from the head to what the commits undone so far leave
	for _, c := range commits {
		for _, ch := range c.Changes {
			d := diffs[ch.Key]
			if d == nil {
				now, err := s.Version(ch.Key, s.Head().Revision)
				if err != nil {
					return nil, "", err
				}
				d = &KeyDiff{ch.Key, now, now}
				diffs[ch.Key] = d
			}
			if ch.Key == BasesKey && d.To.Revision != c.Revision {
				restored, err := undoBases(s, c, ch.Value, d.To.Value)
				if err != nil {
					return nil, "", err
				}
				if restored != nil {
					d.To.Value = *restored
					continue
				}
			}
			if d.To.Revision != c.Revision {
				if len(conflict.Conflicts) < maxMoved {
					conflict.Conflicts = append(conflict.Conflicts, RevertConflict{ch.Key, c.Revision, d.To.Revision})
				}
				continue
			}
			if d.To, err = s.Version(ch.Key, c.Revision-1); err != nil {
				return nil, "", err
			}
		}
	}
	if len(conflict.Conflicts) > 0 {
		return nil, "", &conflict
	}
	for _, d := range diffs {
		if !d.From.Value.Equal(d.To.Value) {
			changes = append(changes, d.Change())
		}
	}
	slices.SortFunc(changes, func(a, b Change) int { return cmp.Compare(a.Key, b.Key) })
	return changes, revertMessage(t, commits), nil
}

// revertMessage names the commits, oldest first, and the message of a single one.
func revertMessage(t Tenant, commits []*Commit) string {
	names := make([]string, len(commits))
	for i, c := range commits {
		names[len(commits)-1-i] = c.Revision.String()
	}
	message := fmt.Sprintf("Revert %s%s", t, strings.Join(names, ", "))
	if len(commits) == 1 && commits[0].Message != "" {
		message += ": " + commits[0].Message
	}
	return message
}
