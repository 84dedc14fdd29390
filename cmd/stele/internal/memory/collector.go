package memory

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// The heap may grow by growth bytes between two collections, within bounds in percent of what
// was alive after the last one: a gateway has a small live heap and allocates some kilobytes
// per call, so with Go's default of 100 percent it would collect many times per second; a ledger
// that writes at full speed has a large one, and with a percentage that suits the gateway it
// would take a gigabyte for no gain.
const (
	growth       = 256 << 20
	leastPercent = 100 // Go's default
	mostPercent  = 400
)

// percentFor is the GC percent that lets a live heap, in bytes, grow by growth.
func percentFor(live uint64) uint64 {
	return min(max(growth*100/max(live, 1), leastPercent), mostPercent)
}

// adjust sets the GC percent after each collection, for as long as the process runs. It keeps no
// goroutine: the collector runs the cleanup of an object that nothing holds.
var adjust = sync.OnceFunc(func() {
	debug.SetGCPercent(mostPercent)
	afterCollection(struct{}{})
})

func afterCollection(struct{}) {
	found := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/gogc:percent"}}
	metrics.Read(found)
	percent, now := percentFor(found[0].Value.Uint64()), found[1].Value.Uint64()
	// Setting it stops the program for a moment, so small changes are not worth it.
	if percent < now*9/10 || percent > now*11/10 {
		debug.SetGCPercent(int(percent))
	}
	collected := new([16]byte) // larger than what the allocator puts into one block with others
	runtime.AddCleanup(collected, afterCollection, struct{}{})
}
