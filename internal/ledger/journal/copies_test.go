package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stelehq/stele/internal/ledger"
)

// Of three servers one has a damaged disk: its copy is named, and the others are whole.
func TestCopies_TheDamagedReplicaIsNamed(t *testing.T) {
	t.Parallel()
	servers := startCluster(t)
	nc, err := nats.Connect(servers[0].server.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(retryFirst))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	var j *Journal
	for deadline := time.Now().Add(time.Minute); j == nil; {
		// The servers elect a leader first.
		j, err = Open(t.Context(), nc, Config{Replicas: 3, UnsafeSync: true})
		if time.Now().After(deadline) && err != nil {
			t.Fatal(err)
		}
	}
	defer j.Close()
	const records = 100
	var last ledger.Sequence
	for n := range records {
		last = appendUntilWritten(t, j, last, fmt.Sprint("record ", n))
	}

	read := func(c Copy) (messages int, damage []Damage) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; {
			messages, damage = 0, nil
			err := c.Read(t.Context(), last, func(m Message) error {
				if messages++; string(m.Record) != fmt.Sprint("record ", m.Sequence-1) {
					return fmt.Errorf("message %d holds %q", m.Sequence, m.Record)
				}
				return nil
			}, func(d Damage) { damage = append(damage, d) })
			switch {
			case err == nil:
				return messages, damage
			case !errors.Is(err, ledger.ErrUnavailable) || time.Now().After(deadline):
				t.Fatal(err)
			}
		}
	}
	copies, err := j.Copies(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range copies {
		names = append(names, c.Server())
		if n, damage := read(c); n != records || len(damage) > 0 {
			t.Errorf("%s has %d messages and %v", c.Server(), n, damage)
		}
	}
	if want := []string{"node-0", "node-1", "node-2"}; !slices.Equal(names, want) {
		t.Fatalf("the copies are on %q, not %q", names, want)
	}

	block := filepath.Join(servers[1].cfg.Dir, "jetstream", "$G", "streams", streamName, "msgs", "1.blk")
	content, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(block, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// Not of a sequence: a bit there can have the server count to it, and hang.
	at := int64(bytes.Index(content, []byte("record 49")))
	if _, err := f.WriteAt([]byte{content[at] ^ 1}, at); err != nil {
		t.Fatal(err)
	}
	// The server has the file in memory for a while.
	var damage []Damage
	for deadline := time.Now().Add(time.Minute); len(damage) == 0; time.Sleep(time.Second) {
		if time.Now().After(deadline) {
			t.Fatal("the damage is not found")
		}
		_, damage = read(copies[1])
	}
	if d := damage[0]; len(damage) != 1 || d.Stream != streamName || d.First != 50 || d.Last != 50 {
		t.Errorf("the damage is %v", damage)
	}
	for _, i := range []int{0, 2} {
		if n, damage := read(copies[i]); n != records || len(damage) > 0 {
			t.Errorf("%s has %d messages and %v", names[i], n, damage)
		}
	}

	// A server that is down is not taken for one that is whole.
	servers[2].Close()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if copies, err = j.Copies(t.Context()); err == nil && len(copies) == 3 && copies[2].(*peerCopy).offline {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the copies are %v, %v", copies, err)
		}
	}
	if err := copies[2].Read(t.Context(), last, func(Message) error { return nil }, func(Damage) {}); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("the copy of a server that is down: %v", err)
	}
}

// Messages that the tree does not have yet are not read.
func TestCopies_ReadUpToAMessage(t *testing.T) {
	j := openTest(t, startTest(t, t.TempDir()), Config{})
	var last ledger.Sequence
	for n := range 3 {
		last = mustAppend(t, j, last, fmt.Sprint(n))
	}
	copies, err := j.Copies(t.Context())
	if err != nil || len(copies) != 1 {
		t.Fatal(copies, err)
	}
	for to := range last + 2 {
		n, damage := ledger.Sequence(0), 0
		err := copies[0].Read(t.Context(), to, func(Message) error { n++; return nil }, func(d Damage) {
			if damage++; d.First != last+1 || d.Last != last+1 {
				t.Errorf("up to %d: %v", to, d)
			}
		})
		if err != nil || n != min(to, last) || (damage > 0) != (to > last) {
			t.Errorf("up to %d it reads %d messages, finds %d, %v", to, n, damage, err)
		}
	}
}

// A server of its own, which is not in a cluster, is asked; a copy that ends early lacks
// messages.
func TestCopies_OfAServerThatIsAsked(t *testing.T) {
	defer func(q, p time.Duration) { quiet, copyTimeout = q, p }(quiet, copyTimeout)
	quiet, copyTimeout = time.Second, time.Millisecond // longer than a busy machine takes to deliver a message
	j := openTest(t, startTest(t, t.TempDir()), Config{})
	j.embedded = nil
	var last ledger.Sequence
	for n := range 3 {
		last = mustAppend(t, j, last, fmt.Sprint(n))
	}
	copies, err := j.Copies(t.Context())
	if err != nil || len(copies) != 1 || copies[0].Server() == "" {
		t.Fatal(copies, err)
	}
	for to := range last + 3 {
		n := ledger.Sequence(0)
		var damage []Damage
		err := copies[0].Read(t.Context(), to, func(Message) error { n++; return nil }, func(d Damage) { damage = append(damage, d) })
		switch {
		case err != nil || n != min(to, last) || (len(damage) > 0) != (to > last):
			t.Errorf("up to %d it reads %d messages, finds %v, %v", to, n, damage, err)
		case to > last && (damage[0].First != last+1 || damage[0].Last != to):
			t.Errorf("up to %d it finds %v", to, damage)
		}
	}
}
