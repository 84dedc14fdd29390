package ledger

// Version is what one commit did to one key.
type Version struct {
	// Revision of the commit; 0 when nobody has ever set or deleted the key.
	Revision Revision
	// Value that it set; empty when it deleted the key.
	Value Value
}

// KeyDiff is one key in two states.
type KeyDiff struct {
	Key      Key
	From, To Version
}

// Change is what makes the one state the other.
func (d KeyDiff) Change() Change {
	return Change{Key: d.Key, Value: d.To.Value, Delete: d.To.Value == ""}
}
