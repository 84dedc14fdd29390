package journal

import (
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go"
)

// A backup of one machine becomes a ledger of three servers, which takes more.
func TestRestore_ToACluster(t *testing.T) {
	s := startTest(t, t.TempDir())
	j := openTest(t, s, Config{})
	last := mustAppend(t, j, 0, "one")
	dir := filepath.Join(t.TempDir(), "backup")
	if _, err := TakeBackup(t.Context(), connect(t, s), dir, noCheck); err != nil {
		t.Fatal(err)
	}
	servers := startCluster(t)
	nc, err := nats.Connect(servers[0].server.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	waitForMetaLeader(t, nc)
	if _, err := Restore(t.Context(), nc, dir, 3); err != nil {
		t.Fatal(err)
	}
	moved, err := Open(t.Context(), nc, Config{Replicas: 3, Embedded: servers[0]})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(moved.Close)
	if moved.Epoch() != j.Epoch() {
		t.Error("it is another ledger")
	}
	if info := moved.stream.CachedInfo(); info.Config.Replicas != 3 || info.State.LastSeq != uint64(last) {
		t.Errorf("it has %d replicas and %+v", info.Config.Replicas, info.State)
	}
	appendUntilWritten(t, moved, last, "two")
}
