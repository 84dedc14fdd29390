package node

import (
	"testing"
	"time"
)

// BindReadsAtOnce applies to nodes that start and end during the test.
func BindReadsAtOnce(t *testing.T) {
	interval, age := bindInterval, bindAge
	bindInterval, bindAge = 10*time.Millisecond, 0
	t.Cleanup(func() { bindInterval, bindAge = interval, age })
}

// Retry is how a node waits for what it needs at the start.
var Retry = retry
