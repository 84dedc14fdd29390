package ledger

// Version is the effect of one commit on one key.
type Version struct {
	// Revision of the commit; 0 if the key was never set or deleted.
	Revision Revision
	// Value that it set; empty when it deleted the key.
	Value Value
	// Base is where the value is inherited from. Revision is then the newest at which the
	// tenant's list of bases was set or its own value deleted.
	Base Source
}

// KeyDiff is one key in two states.
type KeyDiff struct {
	Key      Key
	From, To Version
}

// Change transforms one state into the other.
func (d KeyDiff) Change() Change {
	return Change{Key: d.Key, Value: d.To.Value, Delete: d.To.Value == ""}
}

// KeyVersion is a key and its version.
type KeyVersion struct {
	Key Key
	Version
}
