package node

// gate is nil while this process may append to the journal: once the journal was compared with
// everything that the process has seen of it, and until a part of the process contradicts it. So
// nothing is acknowledged in a journal that was restored from an older backup.
func (n *Node) gate() error {
	if err := n.replica.Compared(); err != nil || n.tree == nil {
		return err
	}
	return n.tree.Compared()
}
