package ledger

// The bounds of a record.
const (
	MaxCommits  = maxCommits
	MaxYielding = maxYielding
	RecordBytes = recordBytes
)

// Drafts is how many drafts wait for the next record.
func (l *Ledger) Drafts() int {
	l.committer.mu.Lock()
	defer l.committer.mu.Unlock()
	return len(l.committer.waiting) + len(l.committer.yielding)
}
