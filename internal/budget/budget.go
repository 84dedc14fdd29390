// Package budget is the memory budget of a process: it bounds the memory that callers can
// make the process hold.
//
// The budget is a part of the process's memory limit. It is divided into shares, so that
// one kind of use cannot starve another: requests that are being handled, and answers and
// watch events that clients have not received yet. A request or an answer that does not fit
// into its share waits for a while, and is then refused. The tails of the replica have a
// size of their own. The rest of the limit is for the journal's buffers, a flush of the
// replica, caches and garbage.
package budget

import "math"

// Budget is the shares of one process.
type Budget struct {
	// Requests holds the estimated memory of requests that are being received or handled, and of
	// large answers that are being built.
	Requests *Divided
	// Bodies holds the bodies of REST requests and of the console's forms. The calls that they
	// become take their memory from Requests: a body that waited there would wait for itself.
	Bodies *Divided
	// Answers holds the encoded bytes of messages that clients have not received yet.
	Answers *Share
	// Connections is how many connections of callers are open at a time.
	Connections int
	// Streams is how many streams of calls are open at a time. Each takes some tens of
	// kilobytes until its client ends it.
	Streams int
	// Calls is how many other calls run at a time. Each can have as much of its request that the
	// gateway has not read yet.
	Calls int
	// Tail is the size, in bytes, at which the replica flushes a tail. There are two
	// tails, and a flush takes about as much as both.
	Tail int
}

// Least is the smallest memory limit, in bytes: the least shares, and what else an idle process
// takes.
const Least = 128 << 20

const (
	// unknownLimit stands for a process without a memory limit.
	unknownLimit = 4 << 30
	// The least that the parts need: one of the largest requests, and a few of the largest
	// answers.
	minRequests = 48 << 20
	minAnswers  = 32 << 20
	minBodies   = 16 << 20
	// Idle connections take 28 kB each, with TLS 65 kB, so all of them half of the limit.
	minConnections, maxConnections = 1024, 20_000
	bytesPerConnection             = 128 << 10
	minStreams, maxStreams         = 8192, 65_536
	bytesPerStream                 = 64 << 10
	minCalls, maxCalls             = 4096, 65_536
	bytesPerCall                   = 128 << 10
	// A larger tail makes flushes rarer, but hardly cheaper, and a restart slower.
	minTail, maxTail = 4 << 20, 64 << 20
)

// New divides a memory limit, in bytes. math.MaxInt64 means unlimited.
func New(limit int64) *Budget {
	if limit <= 0 || limit == math.MaxInt64 {
		limit = unknownLimit
	}
	return &Budget{
		Requests:    NewDivided("requests", max(limit/4, minRequests)),
		Bodies:      NewDivided("bodies", max(limit/16, minBodies)),
		Answers:     NewShare("answers", max(limit/8, minAnswers)),
		Connections: int(min(max(limit/bytesPerConnection, minConnections), maxConnections)),
		Streams:     int(min(max(limit/bytesPerStream, minStreams), maxStreams)),
		Calls:       int(min(max(limit/bytesPerCall, minCalls), maxCalls)),
		Tail:        int(min(max(limit/32, minTail), maxTail)),
	}
}
