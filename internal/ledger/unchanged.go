package ledger

// effective returns the changes that have an effect, each with the revision that it replaces:
// a value with the same meaning as the current one is left out, and so is the deletion of a key
// that is not set. All changes of a change set that keeps all are returned.
//
// A secret is always effective. It is sealed with a nonce, so no two sealed values are
// equal, and setting a guess does not reveal whether it is right. So is a change of a
// key that its author may not read, because the outcome would reveal the current value.
func (s *staged) effective(t Tenant, cs *ChangeSet) ([]Change, error) {
	kept := make([]Change, 0, len(cs.Changes))
	for _, c := range cs.Changes {
		was, same := keyState{}, false
		var err error
		if cs.keepsAll() || cs.Viewer != nil && !cs.Viewer.Reads(t, c.Key) {
			was, err = s.key(c.Key)
		} else if was, err = s.keyAndValue(c.Key); err == nil {
			same = c.leaves(was)
		}
		if err != nil {
			return nil, err
		}
		if !same {
			c.Previous = was.revision
			kept = append(kept, c)
		}
	}
	return kept, nil
}

// leaves reports whether the change leaves its key as it is.
func (c Change) leaves(was keyState) bool {
	if c.Delete {
		return !was.set
	}
	return was.value.Equal(c.Value)
}

// keepsAll reports whether the change set is written with all of its changes, also
// those that change nothing: a history that is imported stays as it was, and the changes of
// an origin have been computed as a difference.
func (cs *ChangeSet) keepsAll() bool { return cs.AllowEmpty || cs.Import != nil || cs.Origin != nil }
