//go:build faults

package systemtest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/failure"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// TestBitRot flips one bit after the other in the journal of a "stele up" that is written
// to, and sets it back. Each must be reported. A backup of the damaged ledger must fail,
// or be whole because the server still had the message in memory.
func TestBitRot(t *testing.T) {
	random, flips := seeded(t), number(t, "STELE_FAULTS_FLIPS", 28)
	dir := t.TempDir()
	data, config := filepath.Join(dir, "data"), filepath.Join(dir, "config.yaml")
	t.Setenv("STELE_CONFIG", config)
	g := startUp(t, data, config, "--scrub-interval", "100ms")
	ctx := acting(t, acme)
	for i := range 100 {
		untilUp(t, ctx, g.ledger.Commit, settingOf(fmt.Sprint(i)))
	}
	report := func() *stelev1.JournalCopy {
		st := untilUp(t, ctx, g.ledger.GetStatus, &stelev1.GetStatusRequest{})
		if len(st.JournalCopies) != 1 {
			return &stelev1.JournalCopy{}
		}
		return st.JournalCopies[0]
	}
	await(t, "a pass over the whole journal", func() bool { return report().Messages >= 100 })
	if c := report(); c.Damaged > 0 || c.Error != "" {
		t.Fatalf("of a whole journal it reports %v", c)
	}
	var slowest time.Duration
	for i := range flips {
		stream := []string{"STELE", "STELE-CHECKPOINTS"}[i%2]
		path := blockOf(filepath.Join(data, "journal"), stream)
		bit := random.Int64N(8 * sizeOf(t, path))
		rotBit(t, path, bit)
		begun := time.Now()
		var c *stelev1.JournalCopy
		await(t, fmt.Sprintf("bit %d of %s is found", bit, path), func() bool {
			c = report()
			return c.Damaged > 0
		})
		slowest = max(slowest, time.Since(begun))
		if len(c.Findings) == 0 || !strings.HasPrefix(c.Findings[0], stream+": message") {
			t.Errorf("bit %d of %s: it reports %v", bit, path, c)
		}
		if i == 0 {
			code, out := commandOutput(t, "doctor")
			if code == failure.OK || !strings.Contains(out, "the journal is damaged: STELE: message") {
				t.Errorf("doctor: exit code %d:\n%s", code, out)
			}
			if _, text := g.httpText(t, "/metrics"); !strings.Contains(text, "\nstele_journal_damaged_messages{server=\"\"} 1\n") {
				t.Error("stele_journal_damaged_messages is not 1")
			}
		}
		rotBit(t, path, bit)
		await(t, "the journal is whole again", func() bool { return report().Damaged == 0 })
		untilUp(t, ctx, g.ledger.Commit, settingOf(fmt.Sprint(1000+i)))
	}
	fmt.Printf("bit rot: %d of %d flipped bits of a journal in use reported, within %s at most with --scrub-interval 100ms\n", flips, flips, slowest.Round(time.Millisecond))

	path := blockOf(filepath.Join(data, "journal"), "STELE")
	rotBit(t, path, 8*sizeOf(t, path)/2)
	whole := 0
	for deadline := time.Now().Add(time.Minute); ; whole++ {
		backup := filepath.Join(dir, fmt.Sprint("backup-", whole))
		code, out := commandOutput(t, "backup", "--data", data, backup)
		if code != failure.OK {
			if _, err := os.Stat(backup); code != failure.Unverified || !strings.Contains(out, "STELE: message") || !os.IsNotExist(err) {
				t.Errorf("backup: exit code %d, %v:\n%s", code, err, out)
			}
			break
		}
		restored := filepath.Join(dir, fmt.Sprint("restored-", whole))
		mustRun(t, "restore", backup, "--data", restored)
		mustRun(t, "verify", "--data", restored, "--restored", "--key", filepath.Join(data, "identity", "checkpoint.pub"))
		if time.Now().After(deadline) {
			t.Fatal("no backup of the damaged ledger failed")
		}
	}
	fmt.Printf("bit rot: a backup of the damaged ledger failed, after %d that were whole because the message was in memory\n", whole)
}

// TestBitRotOfAReplica damages the copy of one of three NATS servers.
func TestBitRotOfAReplica(t *testing.T) {
	random := seeded(t)
	nodes := startCluster(t, 3)
	m := nodes.join(t, "ledger,gateway,signer", "--scrub-interval", "1s")
	ctx := acting(t, acme)
	for i := range 100 {
		untilUp(t, ctx, m.ledger.Commit, settingOf(fmt.Sprint(i)))
	}
	copies := func() []*stelev1.JournalCopy {
		return untilUp(t, ctx, m.ledger.GetStatus, &stelev1.GetStatusRequest{}).JournalCopies
	}
	await(t, "all copies are read", func() bool {
		all := copies()
		for _, c := range all {
			if c.Damaged > 0 {
				t.Fatalf("of whole copies it reports %v", c)
			}
			if c.Messages < 100 {
				return false
			}
		}
		return len(all) == 3
	})
	bad := nodes.servers[random.IntN(3)]
	path := blockOf(bad.store, "STELE")
	// Of a key: at a length that is wrong the server cuts the file off, and at a sequence
	// it can hang.
	content := readFile(t, path)
	rotBit(t, path, 8*int64(bytes.Index(content[len(content)/2:], []byte("a/b"))+len(content)/2))
	begun := time.Now()
	await(t, "the damage is found", func() bool {
		found := false
		for _, c := range copies() {
			if c.Damaged > 0 && c.Server != bad.name {
				t.Fatalf("%s is damaged, and it reports %v", bad.name, c)
			}
			found = found || c.Damaged > 0
		}
		return found
	})
	named := time.Since(begun)
	// What docs/operations.md says to do.
	bad.kill()
	if err := os.RemoveAll(filepath.Join(bad.store, "jetstream")); err != nil {
		t.Fatal(err)
	}
	nodes.start(t)
	begun = time.Now()
	await(t, "the copy is whole again", func() bool {
		whole := 0
		for _, c := range copies() {
			if c.Damaged == 0 && c.Error == "" && c.Completed.AsTime().After(begun) {
				whole++
			}
		}
		return whole == 3
	})
	fmt.Printf("bit rot of one of three replicas: the server is named after %s, the others are reported as whole; with an empty disk it is whole again, read after %s\n",
		named.Round(time.Second), time.Since(begun).Round(time.Second))
}

// blockOf is the first file of a stream in the folder of a server.
func blockOf(dir, stream string) string {
	return filepath.Join(dir, "jetstream", "$G", "streams", stream, "msgs", "1.blk")
}

func sizeOf(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func rotBit(t *testing.T, path string, bit int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], bit/8); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << (bit % 8)
	if _, err := f.WriteAt(b[:], bit/8); err != nil {
		t.Fatal(err)
	}
}
