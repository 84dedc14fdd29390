// Package proof makes a ledger's history verifiable for a verifier that trusts only a
// public key.
//
// An RFC 6962 tree has all commits as its leaves, in the order of the journal; a
// commit's id is its leaf hash. A Checkpoint is a signed statement of the tree's size
// and root. From it, an inclusion proof leads to a commit, and a consistency proof to
// every earlier checkpoint.
//
// Each process has its own Tree: it follows the journal itself, independently of the
// replica, hashes the commits there and nothing else, and keeps the hashes in a bbolt
// file. Sign has its root signed, into a stream of checkpoints where signers cannot
// fork. The file is disposable: if a check fails, it is set aside and rebuilt from the
// journal. The journal must match everything that a tree has seen: if it is shorter,
// different, or contradicts a signature, the tree stops and never signs again.
package proof
