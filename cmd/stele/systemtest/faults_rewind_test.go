//go:build faults

package systemtest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// TestRewind restarts a nats-server on an older folder while a ledger runs that has seen more.
// Another ledger, which has not, then writes to it: until it ends before, at and after what the
// first has seen.
func TestRewind(t *testing.T) {
	nodes := startCluster(t, 1)
	nats := nodes.servers[0]
	ahead := nodes.join(t, "ledger,gateway")
	ctx := acting(t, acme)
	commit := func(m *member) {
		t.Helper()
		untilUp(t, ctx, m.ledger.Commit, settingOf(fmt.Sprint(time.Now().UnixNano())))
	}
	for range 3 {
		commit(ahead)
	}
	nats.kill()
	old := filepath.Join(t.TempDir(), "old")
	if err := os.CopyFS(old, os.DirFS(nats.store)); err != nil {
		t.Fatal(err)
	}
	nodes.start(t)
	for range 2 {
		commit(ahead)
	}
	nats.kill()
	if err := os.RemoveAll(nats.store); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(old, nats.store); err != nil {
		t.Fatal(err)
	}
	nodes.start(t)
	behind := nodes.join(t, "ledger,gateway")
	acknowledged := 0
	for range 4 {
		for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); {
			if _, err := ahead.ledger.Commit(ctx, settingOf(fmt.Sprint(time.Now().UnixNano()))); err == nil {
				acknowledged++
			}
		}
		commit(behind)
	}
	if acknowledged > 0 {
		t.Errorf("%d writes were acknowledged by a ledger that has seen what the journal lacks", acknowledged)
	}
	var why string
	await(t, "the ledger that has seen more reports it", func() bool {
		st, err := ahead.ledger.GetStatus(ctx, &stelev1.GetStatusRequest{})
		why = st.GetReadOnly()
		return err == nil && why != ""
	})
	fmt.Printf("nats-server restarted on an older folder: 0 of the writes of the ledger that has seen more were acknowledged; it reports %q\n", why)
}
