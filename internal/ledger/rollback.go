package ledger

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Rollback asks for a past state: a new commit makes the selected keys equal to an
// earlier revision.
type Rollback struct {
	// To is the revision to go back to; 0 is the state before the first commit.
	To Revision
	// Keys selects the keys to roll back, and so does Prefix, byte by byte. If both are
	// set, the keys that both select are rolled back.
	Keys   Pattern
	Prefix Prefix
	Request
}

// Revert asks to undo single commits: each key that they changed becomes what it was
// before them.
type Revert struct {
	Revisions []Revision
	Request
}

// Request has the common fields of all requests whose changes are planned at the head.
type Request struct {
	Author     string
	ByOperator bool
	// Message describes the commit; the default names the target.
	Message   string
	RequestID string
	// ExpectedHead, when set, is the head at which the caller has seen what would
	// change. When the head has moved since, nothing is written.
	ExpectedHead *Revision
	// ExpectedHeadID, unless it is empty, is what that head's id begins with.
	ExpectedHeadID []byte
	// AllowInvalid is that of ChangeSet.
	AllowInvalid bool
	// DryRun writes nothing.
	DryRun bool
	// Viewer is that of ChangeSet.
	Viewer Viewer
}

// Restored is the outcome of a rollback, a revert or a copy.
type Restored struct {
	// Head is the one that the changes were made at.
	Head   Revision
	HeadID CommitID
	// Changes that were made, or would be. None when the states do not differ:
	// then nothing is written.
	Changes []Change
	// Result is nil when nothing was written.
	Result *Result
}

// Rollback makes a part of the tenant's state equal to an earlier revision, except keys
// that only the ledger's processes set.
//
// Errors, in addition to those of Commit: *RangeError for a revision that does not
// exist; *ConflictError, with the changes since, if the head is not the expected one;
// *InvalidError, with prefixes that are small enough, if there is more to change than
// one commit holds.
func (l *Ledger) Rollback(ctx context.Context, t Tenant, r Rollback) (Restored, error) {
	within := max(r.Keys.Range(), r.Prefix) // of two that both select a key, the longer one
	return l.restore(ctx, t, r.Request, &RollbackOrigin{r.To, cmp.Or(Prefix(r.Keys), r.Prefix)}, func(s State) ([]Change, string, error) {
		if head := s.Head().Revision; r.To > head {
			return nil, "", &RangeError{Tenant: t, Revision: r.To, Head: head}
		}
		changes, err := restored(t, s, r.To, within, func(k Key) bool { return r.Keys.Match(k) && r.Prefix.Match(k) && !t.setByProcesses(k) })
		if err != nil {
			return nil, "", err
		}
		what := "Roll back"
		if asked := cmp.Or(Prefix(r.Keys), r.Prefix); asked != "" {
			what += " " + string(asked)
		}
		return changes, fmt.Sprintf("%s to %s%s", what, t, r.To), fits("prefix", "roll back one prefix after the other", within, changes)
	})
}

// restored are the changes that restore the selected keys. Without the list of bases, what is
// inherited stays: a value that was inherited and has changed since is set.
func restored(t Tenant, s State, to Revision, within Prefix, selected func(Key) bool) (changes []Change, err error) {
	own := make(map[Key]Change) // that restore the tenant's own values
	for d, err := range s.Diff(s.Head().Revision, to, within, "") {
		if err != nil {
			return nil, err
		}
		if selected(d.Key) {
			own[d.Key] = d.Change()
		}
	}
	if !selected(BasesKey) {
		if err := setInherited(t, s, to, within, selected, own); err != nil {
			return nil, err
		}
	}
	return slices.SortedFunc(maps.Values(own), func(a, b Change) int { return cmp.Compare(a.Key, b.Key) }), nil
}

// setInherited sets the selected keys whose values would differ from those that readers saw in
// the restored revision, because they inherit another value now.
func setInherited(t Tenant, s State, to Revision, within Prefix, selected func(Key) bool, own map[Key]Change) error {
	effective := s.Effective()
	seen := make(map[Key]Version) // in the restored revision, of the keys that readers see differently now
	for d, err := range effective.Diff(s.Head().Revision, to, within, "") {
		if err != nil {
			return err
		}
		if selected(d.Key) {
			seen[d.Key] = d.To
		}
	}
	for key, ch := range own {
		if _, differs := seen[key]; differs || !ch.Delete {
			continue
		}
		// The tenant's own value is the restored one. It stays, unless the inherited one is the same.
		was, err := effective.Version(key, to)
		if err != nil {
			return err
		}
		inherited, err := effective.Inherited(key)
		if err != nil {
			return err
		}
		if !inherited.Value.Equal(was.Value) {
			delete(own, key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(seen)) {
		was := seen[key]
		is, err := restoredValue(s, effective, key, own)
		switch {
		case err != nil:
			return err
		case is.Equal(was.Value):
			continue
		case was.Value == "":
			return Invalid("prefix", fmt.Sprintf("%s was not set in %s%s, and is inherited now: roll back %s as well, or all keys", key, t, to, BasesKey))
		case was.Base.Inherited() && strings.HasPrefix(string(was.Value), `{"$secret":`):
			return Invalid("prefix", fmt.Sprintf("%s was a secret of %s, which cannot be copied: roll back %s as well, or all keys", key, was.Base.Tenant, BasesKey))
		}
		own[key] = Change{Key: key, Value: was.Value}
	}
	return nil
}

// restoredValue is the value of a key that readers see after the changes of own values.
func restoredValue(s State, effective Effective, key Key, own map[Key]Change) (Value, error) {
	ch, changes := own[key]
	if !changes {
		now, err := s.Version(key, s.Head().Revision)
		if err != nil {
			return "", err
		}
		ch.Value = now.Value
	}
	if ch.Value != "" {
		return ch.Value, nil
	}
	inherited, err := effective.Inherited(key)
	return inherited.Value, err
}

// Revert undoes single commits.
//
// Errors, in addition to those of Commit: *RangeError for a revision that does not
// exist; *RevertError if a later commit has changed one of the keys; *ConflictError,
// with the changes since, if the head is not the expected one.
func (l *Ledger) Revert(ctx context.Context, t Tenant, r Revert) (Restored, error) {
	return l.restore(ctx, t, r.Request, &RevertOrigin{r.Revisions}, func(s State) ([]Change, string, error) {
		changes, message, err := undo(t, s, r.Revisions)
		if err != nil {
			return nil, "", err
		}
		return changes, message, fits("revisions", "revert fewer commits, or roll back to before them one prefix after the other", "", changes)
	})
}

// restore commits the changes that plan finds at the head, with the message that it
// proposes if the request does not have one. The head must be unchanged when they are committed,
// or it plans again.
func (l *Ledger) restore(ctx context.Context, t Tenant, r Request, origin Origin, plan func(State) ([]Change, string, error)) (Restored, error) {
	asked, err := r.requestHash(origin)
	if err != nil {
		return Restored{}, err
	}
	for {
		done, message, err := l.plan(ctx, t, r, asked, origin, plan)
		if err != nil || r.DryRun || done.Result != nil || len(done.Changes) == 0 {
			return done, err
		}
		result, err := l.Commit(ctx, t, ChangeSet{
			Author: r.Author, ByOperator: r.ByOperator, Message: message, RequestID: r.RequestID, requestHash: asked, Changes: done.Changes, ExpectedHead: &done.Head, Origin: origin, AllowInvalid: r.AllowInvalid, Viewer: r.Viewer,
		})
		var moved *ConflictError
		switch {
		case errors.As(err, &moved) && ctx.Err() == nil:
			continue // by now the replica has what moved it
		case err != nil:
			return done, err
		}
		done.Result = &result
		return done, nil
	}
}

// plan finds what to change and the message of the commit, or the outcome of an earlier request
// with this id. If nothing is to be written, it also checks what Commit would refuse.
func (l *Ledger) plan(ctx context.Context, t Tenant, r Request, asked []byte, origin Origin, plan func(State) ([]Change, string, error)) (done Restored, message string, err error) {
	s, err := l.cfg.Replica.Newest(t)
	if err != nil {
		return done, "", err
	}
	defer s.Close()
	done.Head, done.HeadID = s.Head().Revision, s.Head().ID
	if name := requestName(r.Author, r.ByOperator, origin, r.RequestID); name != "" {
		rev, ok, err := s.Request(name)
		if err != nil {
			return done, "", err
		}
		if ok {
			c, err := s.Commit(rev)
			if err != nil {
				return done, "", err
			}
			if !bytes.Equal(c.RequestHash, asked) {
				return done, "", &RequestError{t, r.RequestID, c.Revision}
			}
			done.Changes = c.Changes
			done.Result = &Result{Revision: c.Revision, ID: c.ID, Time: c.Time, Repeated: true}
			return done, "", nil
		}
	}
	if want := r.ExpectedHead; want != nil && *want != done.Head {
		return done, "", movedSince(t, s, *want, r.Viewer)
	} else if want != nil {
		if err := SameCommit(t, *want, s.Head().ID, r.ExpectedHeadID); err != nil {
			return done, "", err
		}
	}
	if done.Changes, message, err = plan(s); err != nil {
		return done, "", err
	}
	if message = cmp.Or(r.Message, ClipMessage(message)); r.DryRun && len(done.Changes) > 0 {
		cs := ChangeSet{Author: r.Author, ByOperator: r.ByOperator, Message: message, Changes: done.Changes, Origin: origin, AllowInvalid: r.AllowInvalid, Viewer: r.Viewer}
		if err = l.admit(ctx, t, &cs); err == nil {
			_, err = l.preview(ctx, t, s, cs)
		}
	}
	return done, message, err
}

// ClipMessage shortens a message to MaxMessage bytes.
func ClipMessage(message string) string {
	if len(message) > MaxMessage {
		message = strings.ToValidUTF8(message[:MaxMessage], "")
	}
	return message
}

// maxMoved bounds how many keys are named of those that have changed.
const maxMoved = 20

// movedSince says which keys have changed since the expected head, of those that the viewer
// may read.
func movedSince(t Tenant, s State, expected Revision, viewer Viewer) error {
	head := s.Head().Revision
	e := &ConflictError{Tenant: t, Conflicts: []Conflict{{Expected: expected, Actual: head}}}
	if expected > head {
		return e
	}
	for d, err := range s.Diff(expected, head, "", "") {
		if err != nil {
			return err
		}
		if viewer != nil && !viewer.Reads(t, d.Key) {
			continue
		}
		e.Conflicts = append(e.Conflicts, Conflict{Key: d.Key, Expected: d.From.setBy(), Actual: d.To.setBy()})
		if len(e.Conflicts) > maxMoved {
			break
		}
	}
	return e
}

// setBy is the revision that has set the key, 0 when it is not set.
func (v Version) setBy() Revision {
	if v.Value == "" {
		return 0
	}
	return v.Revision
}
