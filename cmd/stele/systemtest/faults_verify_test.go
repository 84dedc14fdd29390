//go:build faults

package systemtest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/failure"
)

// busyLoops use up the processors while "stele verify" reads: its deliveries get lost then,
// and a lost delivery is not a lost message.
const busyLoops = 6

// TestVerifyUnderLoad verifies a ledger that is as it was written, and ledgers with a changed
// stream, on a busy machine: no false alarm, and nothing missed.
func TestVerifyUnderLoad(t *testing.T) {
	begun := time.Now()
	runs, random := number(t, "STELE_FAULTS_VERIFIES", 100), seeded(t)
	whole := makeEvidence(t)
	stop := make(chan struct{})
	var loops sync.WaitGroup
	for range busyLoops {
		loops.Go(func() {
			for n := 0; ; n++ {
				if n%1_000_000 == 0 {
					select {
					case <-stop:
						return
					default:
					}
				}
			}
		})
	}
	defer loops.Wait()
	defer close(stop)
	kinds := streamTampers()
	for i := range runs {
		if code := verifyEvidence(t, whole, "ledger"); code != failure.OK {
			t.Errorf("run %d: a ledger as it was written: exit code %d", i, code)
		}
		kind := kinds[i%len(kinds)]
		bad := whole.copy(t, kind.target)
		what := kind.do(t, bad, rand.New(rand.NewPCG(random.Uint64(), 0)))
		if code := verifyEvidence(t, bad, kind.target); code != failure.Unverified {
			t.Errorf("run %d, %s of %s (%s): exit code %d, not %d", i, kind.kind, kind.target, what, code, failure.Unverified)
		}
		os.RemoveAll(bad.dir)
	}
	fmt.Printf("stele verify next to %d busy loops: %d good ledgers, 0 false alarms; %d with a changed stream, all found; %s\n",
		busyLoops, runs, runs, time.Since(begun).Round(time.Second))
}
