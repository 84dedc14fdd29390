// Package proof makes a ledger's history verifiable by somebody who trusts only a
// public key.
//
// Each shard has an RFC 6962 tree whose leaves are its commits in the order of
// the journal; a commit's id is its leaf hash. A Checkpoint is a signed statement
// of a tree's size and root. From it, an inclusion proof leads to a commit, and a
// consistency proof to every earlier checkpoint.
package proof
