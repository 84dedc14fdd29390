package ledger

// effective returns the changes that have an effect: a value with the same meaning as
// the current one is left out, and so is the deletion of a key that is not set. The
// result is changes itself if all of them are effective.
//
// A secret is always effective. It is sealed with a nonce, so no two sealed values are
// equal, and setting a guess does not reveal whether it is right. So is a change of a
// key that its author may not read, because the outcome would reveal the current value.
//
// value returns a key's current value, empty if the key is not set.
func effective(changes []Change, value func(Key) (Value, error), reads func(Key) bool) ([]Change, error) {
	var kept []Change
	for i, c := range changes {
		same, err := false, error(nil)
		if reads(c.Key) {
			same, err = unchanged(c, value)
		}
		switch {
		case err != nil:
			return nil, err
		case same && kept == nil:
			kept = append(make([]Change, 0, len(changes)), changes[:i]...)
		case !same && kept != nil:
			kept = append(kept, c)
		}
	}
	if kept == nil {
		return changes, nil
	}
	return kept, nil
}

func unchanged(c Change, value func(Key) (Value, error)) (bool, error) {
	is, err := value(c.Key)
	if err != nil {
		return false, err
	}
	if c.Delete {
		return is == "", nil
	}
	return is.Equal(c.Value), nil
}

// keepsAll reports whether the change set is written with all of its changes, also
// those that change nothing: a history that is imported stays as it was, and the changes of
// an origin have been computed as a difference.
func (cs *ChangeSet) keepsAll() bool { return cs.AllowEmpty || cs.Import != nil || cs.Origin != nil }
