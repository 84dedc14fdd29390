// Package proof makes a ledger's history verifiable by somebody who trusts only a
// public key.
//
// An RFC 6962 tree has all commits as its leaves, in the order of the journal; a
// commit's id is its leaf hash. A Checkpoint is a signed statement of the tree's size
// and root. From it, an inclusion proof leads to a commit, and a
// consistency proof to every earlier checkpoint.
//
// A Tree is the process's own: it follows the journal by itself, beside the
// replica, hashes what it finds there and nothing else, and keeps the hashes in a
// bbolt file. Sign has what it holds signed, into a stream of checkpoints where
// signers cannot fork. The file is disposable: what fails a check is set aside and
// built again from the journal. What a tree has seen it holds the journal to: one
// that is shorter, or different, or that does not go with what was signed, stops
// the tree, and it never signs again.
package proof
