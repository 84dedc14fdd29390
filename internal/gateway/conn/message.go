package conn

// MaxMessage is the largest message that a gateway takes or sends, in bytes: a
// change set of ledger.MaxChangeSet with room for what surrounds it. Clients
// must allow as much.
const MaxMessage = 8 << 20
