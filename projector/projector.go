// Package projector makes sinks equal to the ledger: stores like DynamoDB hold the
// newest value of every key that is routed to them, and buses get every change.
//
// A projector reads commits from its process's replica. For each sink it keeps a
// position a tenant: the revision up to which everything is in the sink, or parked.
// Positions are kept beside the journal, so that any process can go on where
// another one was killed. What was written after the position that was kept last is
// written again: a store takes it as it is, because every item carries its
// revision, and a bus gets it at least once.
//
// Several processes may run the same sinks. Each sink has a claim, a record beside
// the journal that names the one process that writes to it; the others take it over
// within seconds of that one falling silent.
//
// A key that a sink will not take is parked with the reason: no other key waits
// for it. A store is swept once a minute for items that somebody has changed there,
// and the key's route says whether that is only reported, repaired, or adopted as
// a commit.
package projector
