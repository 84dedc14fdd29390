package secret_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/secret"
)

func kekOf(t testing.TB, text []byte) secret.KEK {
	t.Helper()
	kek, err := secret.ParseKEK(text)
	if err != nil {
		t.Fatal(err)
	}
	return kek
}

func edited(t testing.TB, text []byte, edit func([]byte) ([]byte, error)) []byte {
	t.Helper()
	out, err := edit(text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (p *process) reveal(t testing.TB, tenant ledger.Tenant, key string, v ledger.Value, want string) {
	t.Helper()
	got, err := p.ring.Reveal(t.Context(), tenant, ledger.Key(key), v)
	if err != nil || string(got) != want {
		t.Errorf("%s of %s is %s, %v; want %s", key, tenant, got, err, want)
	}
}

// The key-encryption key is replaced step by step while processes with the file of the step before
// still run, and history is not rewritten.
func TestRotate_KEKInSteps(t *testing.T) {
	text, err := secret.GenerateKEK()
	if err != nil {
		t.Fatal(err)
	}
	added := edited(t, text, secret.AddKEK)
	promoted := edited(t, added, secret.PromoteKEK)
	pruned := edited(t, promoted, secret.PruneKEK)
	s := ledgertest.Server(t)
	old := start(t, s, kekOf(t, text))
	old.set(t, "acme", "s/a", `"first"`)
	sealed := old.kept(t, "acme", "s/a")

	both := start(t, s, kekOf(t, added))
	await(t, "the commit", func() bool { return both.Replica.Head("acme").Revision == 1 })
	both.set(t, "globex", "s/a", `"globex"`)
	await(t, "the commit", func() bool { return old.Replica.Head("globex").Revision == 1 })
	old.reveal(t, "globex", "s/a", both.kept(t, "globex", "s/a"), `"globex"`) // a key that was only added encrypts nothing

	next := start(t, s, kekOf(t, promoted))
	await(t, "the commits", func() bool {
		return next.Replica.Head("globex").Revision == 1 && next.Replica.Head("acme").Revision == 1
	})
	for _, tenant := range []ledger.Tenant{"acme", "globex", ledger.System} {
		if ids, err := next.ring.Rotate(t.Context(), tenant, false); err != nil || len(ids) != 1 {
			t.Fatalf("%s: %v, %v", tenant, ids, err)
		}
	}
	both.reveal(t, "acme", "s/a", sealed, `"first"`)
	last := start(t, s, kekOf(t, pruned))
	await(t, "the commits", func() bool { return last.Replica.Head("acme").Revision == 1 })
	last.reveal(t, "acme", "s/a", sealed, `"first"`)
	if got := last.kept(t, "acme", "s/a"); got != sealed {
		t.Errorf("history was rewritten: %s, was %s", got, sealed)
	}
	late := start(t, s, kekOf(t, text))
	await(t, "the commits", func() bool { return late.Replica.Head("acme").Revision == 1 })
	if _, err := late.ring.Reveal(t.Context(), "acme", "s/a", sealed); !errors.Is(err, secret.ErrNoKEK) {
		t.Errorf("with the old key-encryption key alone: %v", err)
	}
}

// New values get the new key; old ones stay readable, also by a process that has the old
// key in memory; and shredding destroys all of them.
func TestRotate_NewKeyForNewValues(t *testing.T) {
	dir := t.TempDir()
	s, err := journal.StartServer(journal.ServerConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	kek := newKEK(t)
	p := start(t, s, kek)
	if _, err := p.ring.Rotate(t.Context(), "acme", true); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("a tenant without secrets: %v", err)
	}
	var sealed []ledger.Value
	var ids []string
	for i := range 4 {
		p.set(t, "acme", "s/a", fmt.Sprintf(`"value %d"`, i))
		sealed = append(sealed, p.kept(t, "acme", "s/a"))
		if ids, err = p.ring.Rotate(t.Context(), "acme", true); err != nil || len(ids) != i+2 {
			t.Fatal(ids, err)
		}
	}
	other := start(t, s, kek)
	await(t, "the commits", func() bool { return other.Replica.Head("acme").Revision == 4 })
	for i, v := range sealed {
		if !strings.Contains(string(v), "v1:"+ids[4-i]+":") {
			t.Errorf("value %d is encrypted with another key than %s: %s", i, ids[4-i], v)
		}
		p.reveal(t, "acme", "s/a", v, fmt.Sprintf(`"value %d"`, i))
		other.reveal(t, "acme", "s/a", v, fmt.Sprintf(`"value %d"`, i))
	}
	gone, _, err := p.ring.Shred(t.Context(), p.ledger, "acme", "olga")
	slices.Sort(ids)
	if slices.Sort(gone); err != nil || !slices.Equal(gone, ids) {
		t.Errorf("destroyed %q, %v; want %q", gone, err, ids)
	}
	for _, v := range sealed {
		if _, err := p.ring.Reveal(t.Context(), "acme", "s/a", v); !errors.Is(err, secret.ErrDestroyed) {
			t.Errorf("%s after the tenant was shredded: %v", v, err)
		}
	}
	// No file of the server has a key any more, not even one from before a rotation.
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(path, "STELE-KEYS") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, id := range ids {
			if bytes.Contains(b, []byte(`"id":"`+id)) {
				t.Errorf("%s still has the key %s", path, id)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// dying is a stream of keys at which a process is killed after some writes.
type dying struct {
	secret.Keys
	left *int
}

var errKilled = errors.New("killed")

func (d dying) Put(ctx context.Context, name string, expected ledger.Sequence, body []byte) (ledger.Sequence, error) {
	if *d.left--; *d.left < 0 {
		return 0, errKilled
	}
	return d.Keys.Put(ctx, name, expected, body)
}

func (d dying) Erase(ctx context.Context, seq ledger.Sequence) error {
	if *d.left--; *d.left < 0 {
		return errKilled
	}
	return d.Keys.Erase(ctx, seq)
}

// A rotation that is killed at any step loses no key, and the next one finishes it.
func TestRotate_KilledAtEveryStep(t *testing.T) {
	for steps := range 2 {
		for _, newKey := range []bool{false, true} {
			t.Run(fmt.Sprint(steps, newKey), func(t *testing.T) {
				s, kek := ledgertest.Server(t), newKEK(t)
				left := 1 << 30
				p := startWith(t, s, kek, func(keys secret.Keys) secret.Keys { return dying{keys, &left} })
				p.set(t, "acme", "s/a", `"before"`)
				before := p.kept(t, "acme", "s/a")
				left = steps
				if _, err := p.ring.Rotate(t.Context(), "acme", newKey); !errors.Is(err, errKilled) {
					t.Fatal(err)
				}
				left = 1 << 30
				other := start(t, s, kek)
				await(t, "the commit", func() bool { return other.Replica.Head("acme").Revision == 1 })
				other.reveal(t, "acme", "s/a", before, `"before"`)
				other.set(t, "acme", "s/a", `"between"`)
				between := other.kept(t, "acme", "s/a")
				for range 2 {
					if _, err := other.ring.Rotate(t.Context(), "acme", newKey); err != nil {
						t.Fatal(err)
					}
				}
				await(t, "the commit", func() bool { return p.Replica.Head("acme").Revision == 2 })
				for _, q := range []*process{p, other} {
					q.reveal(t, "acme", "s/a", before, `"before"`)
					q.reveal(t, "acme", "s/a", between, `"between"`)
				}
				messages := 0
				stream, err := p.Journal.OpenBucket(t.Context(), journal.Keys)
				if err != nil {
					t.Fatal(err)
				}
				for n, err := range stream.All(t.Context(), "") {
					if err != nil {
						t.Fatal(err)
					}
					if strings.HasPrefix(n.Name, "acme") {
						messages++
					}
				}
				if messages != 1 {
					t.Errorf("%d messages hold the tenant's keys; want 1", messages)
				}
			})
		}
	}
}

// Processes that rotate at once make one line of keys, and lose none.
func TestRotate_AtOnce(t *testing.T) {
	s, kek := ledgertest.Server(t), newKEK(t)
	a, b := start(t, s, kek), start(t, s, kek)
	a.set(t, "acme", "s/a", `"x"`)
	sealed := a.kept(t, "acme", "s/a")
	failed := make(chan error, 2)
	for _, p := range []*process{a, b} {
		go func() {
			var err error
			for range 5 {
				_, e := p.ring.Rotate(context.Background(), "acme", true)
				err = errors.Join(err, e)
			}
			failed <- err
		}()
	}
	if err := errors.Join(<-failed, <-failed); err != nil {
		t.Fatal(err)
	}
	if ids, err := a.ring.Rotate(t.Context(), "acme", false); err != nil || len(ids) != 11 {
		t.Errorf("%d keys after 10 rotations, %v; want 11", len(ids), err)
	}
	b.reveal(t, "acme", "s/a", sealed, `"x"`)
}
