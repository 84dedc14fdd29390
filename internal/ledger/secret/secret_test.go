package secret_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/ledger/secret"
	"pgregory.net/rapid"
)

// Keys below s/ are secret.
const table = `{"sinks":{},"routes":[{"prefix":"s/","secret":true}]}`

// process is one of a ledger's, with a keyring.
type process struct {
	*ledgertest.Node
	ring   *secret.Keyring
	ledger *ledger.Ledger
}

func newKEK(t testing.TB) secret.KEK {
	t.Helper()
	text, err := secret.GenerateKEK()
	if err != nil {
		t.Fatal(err)
	}
	kek, err := secret.ParseKEK(text)
	if err != nil {
		t.Fatal(err)
	}
	return kek
}

func start(t testing.TB, s *journal.Server, kek secret.KEK) *process {
	t.Helper()
	return startWith(t, s, kek, func(keys secret.Keys) secret.Keys { return keys })
}

// startWith is start with something between the keyring and its stream.
func startWith(t testing.TB, s *journal.Server, kek secret.KEK, between func(secret.Keys) secret.Keys) *process {
	t.Helper()
	p := &process{Node: ledgertest.Start(t, s, ledgertest.Config{})}
	fallback, err := routes.Parse([]byte(table))
	if err != nil {
		t.Fatal(err)
	}
	p.ring = secret.New(secret.Config{
		KEK: kek, Replica: p.Replica, Routes: routes.NewSource(p.Replica, fallback, slog.New(slog.DiscardHandler)),
		Keys: func() (secret.Keys, error) {
			keys, err := p.Journal.OpenBucket(context.Background(), journal.Keys)
			return between(keys), err
		},
	})
	p.ledger = ledger.New(ledger.Config{Journal: p.Journal, Replica: p.Replica, Seal: p.ring.Seal, SealedFrom: p.ring.SealedFrom})
	t.Cleanup(p.ledger.Close)
	return p
}

func (p *process) commit(t ledger.Tenant, kv ...string) (ledger.Result, error) {
	var cs ledger.ChangeSet
	for i := 0; i < len(kv); i += 2 {
		cs.Changes = append(cs.Changes, ledger.Change{Key: ledger.Key(kv[i]), Value: ledger.Value(kv[i+1])})
	}
	return p.ledger.Commit(context.Background(), t, cs)
}

func (p *process) set(t testing.TB, tenant ledger.Tenant, kv ...string) {
	t.Helper()
	r, err := p.commit(tenant, kv...)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Replica.Wait(t.Context(), tenant, r.Revision); err != nil {
		t.Fatal(err)
	}
}

// kept is what the ledger holds of a key.
func (p *process) kept(t testing.TB, tenant ledger.Tenant, key ledger.Key) ledger.Value {
	t.Helper()
	v, err := p.Replica.View(tenant, replica.At{})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	e, _, err := v.Get(key)
	if err != nil {
		t.Fatal(err)
	}
	return e.Value
}

// await waits for what another process will see.
func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: it does not come", what)
		}
	}
}

func TestSecrets_AreStoredEncrypted(t *testing.T) {
	p := start(t, ledgertest.Server(t), newKEK(t))
	p.set(t, "acme", "s/a", `{"b": "hunter2"}`, "open", `"hunter2"`)
	kept := p.kept(t, "acme", "s/a")
	if !secret.Sealed(kept) || strings.Contains(string(kept), "hunter2") {
		t.Fatalf("s/a is kept as %s", kept)
	}
	if v, err := p.ring.Reveal(t.Context(), "acme", "s/a", kept); v != `{"b": "hunter2"}` || err != nil {
		t.Errorf("s/a is revealed as %s, %v", v, err)
	}
	if v := p.kept(t, "acme", "open"); v != `"hunter2"` {
		t.Errorf("open is kept as %s", v)
	}
	for _, tc := range []struct{ name, key, value, want string }{
		{"a copy of an encrypted value", "s/b", string(kept), "only the ledger writes such"},
		{"the same without a secret route", "b", string(kept), "only the ledger writes such"},
		{"what was shown of a secret", "s/b", `"***"`, "is shown instead of a secret"},
	} {
		_, err := p.commit("acme", "x", "1", tc.key, tc.value)
		var invalid *ledger.InvalidError
		if !errors.As(err, &invalid) || invalid.Violations[0].Field != "changes[1].value" || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
	p.set(t, "acme", "b", `"***"`)
	p.set(t, ledger.System, "s/a", "1")
	if v := p.kept(t, ledger.System, "s/a"); v != "1" {
		t.Errorf("the ledger's own s/a is kept as %s", v)
	}
}

// A rollback and a revert set the encrypted value again, which can be revealed at its
// new revision; a value from before its key was secret is encrypted when it returns.
func TestRollback_KeepsSecrets(t *testing.T) {
	p := start(t, ledgertest.Server(t), newKEK(t))
	open := ledger.New(ledger.Config{Journal: p.Journal, Replica: p.Replica}) // one from before there were secrets
	defer open.Close()
	if _, err := open.Commit(t.Context(), "acme", ledger.ChangeSet{Changes: []ledger.Change{{Key: "s/old", Value: `"hunter1"`}}}); err != nil {
		t.Fatal(err)
	}
	p.set(t, "acme", "s/a", `"hunter2"`)                   // @2
	p.set(t, "acme", "s/a", `"other"`, "s/old", `"newer"`) // @3
	if _, err := p.ledger.Rollback(t.Context(), "acme", ledger.Rollback{To: 2}); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[ledger.Key]ledger.Value{"s/a": `"hunter2"`, "s/old": `"hunter1"`} {
		kept := p.kept(t, "acme", key)
		if v, err := p.ring.Reveal(t.Context(), "acme", key, kept); v != want || err != nil || !secret.Sealed(kept) {
			t.Errorf("after a rollback %s is %s, kept as %.30s, %v", key, v, kept, err)
		}
	}
	if _, err := p.ledger.Revert(t.Context(), "acme", ledger.Revert{Revisions: []ledger.Revision{4}}); err != nil {
		t.Fatal(err)
	}
	if v, err := p.ring.Reveal(t.Context(), "acme", "s/a", p.kept(t, "acme", "s/a")); v != `"other"` || err != nil {
		t.Errorf("after a revert s/a is %s, %v", v, err)
	}
}

// An encrypted value is revealed byte by byte, and only in its place.
func TestDecrypt_BoundToLedgerTenantAndKey(t *testing.T) {
	kek := newKEK(t)
	p, foreign := start(t, ledgertest.Server(t), kek), start(t, ledgertest.Server(t), kek)
	foreign.set(t, "acme", "s/a", "1")
	p.set(t, "other", "s/a", "1")
	seal := func(t rapid.TB, key ledger.Key, v ledger.Value) ledger.Value {
		out, err := p.ring.Seal(context.Background(), "acme", []ledger.Change{{Key: key, Value: v}}, false)
		if err != nil {
			t.Fatal(err)
		}
		return out[0].Value
	}
	rapid.Check(t, func(t *rapid.T) {
		v, err := ledger.ParseValue(rapid.SampledFrom([]string{"null", "1.0", "9007199254740993", `{"b":1,"a":[2e400]}`, `"\u00e4\/"`}).Draw(t, "value"))
		if text := rapid.String().Draw(t, "text"); err == nil && rapid.Bool().Draw(t, "string") {
			v, err = ledger.ParseValue(fmt.Sprintf("%q", strings.ToValidUTF8(text, "")))
		}
		if err != nil {
			t.Skip("Go's quotes are not JSON's")
		}
		key := ledger.Key("s/" + rapid.StringMatching(`[a-z]{1,9}`).Draw(t, "key"))
		sealed := seal(t, key, v)
		if again := seal(t, key, v); again == sealed {
			t.Fatalf("%s is encrypted as the same text twice", v)
		}
		if back, err := p.ring.Reveal(context.Background(), "acme", key, sealed); back != v || err != nil {
			t.Fatalf("%s is revealed as %s, %v", v, back, err)
		}
		b := []byte(sealed)
		at := rapid.IntRange(len(b)-20, len(b)-3).Draw(t, "at")
		b[at] = map[bool]byte{true: 'A', false: 'B'}[b[at] == 'B']
		for what, err := range map[string]error{
			"another key": reveal(p, "acme", key+"x", sealed), "a key before": reveal(p, "acme", key[:len(key)-1], sealed),
			"a changed byte": reveal(p, "acme", key, ledger.Value(b)), "one that is cut off": reveal(p, "acme", key, sealed[:len(sealed)-2]),
		} {
			if !errors.Is(err, secret.ErrAltered) {
				t.Fatalf("%s: %v", what, err)
			}
		}
		for what, err := range map[string]error{"another tenant": reveal(p, "other", key, sealed), "another ledger": reveal(foreign, "acme", key, sealed)} {
			if !errors.Is(err, secret.ErrDestroyed) { // its key is not there
				t.Fatalf("%s: %v", what, err)
			}
		}
	})
}

func reveal(p *process, t ledger.Tenant, key ledger.Key, v ledger.Value) error {
	_, err := p.ring.Reveal(context.Background(), t, key, v)
	return err
}

// Tenants' keys cannot be exchanged: each is bound to its owner.
func TestKeys_BelongToTheirTenant(t *testing.T) {
	kek := newKEK(t)
	s := ledgertest.Server(t)
	p := start(t, s, kek)
	p.set(t, "acme", "s/a", "1")
	bucket, err := p.Journal.OpenBucket(t.Context(), journal.Keys)
	if err != nil {
		t.Fatal(err)
	}
	entry, err := bucket.Get(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.Put(t.Context(), "other", 0, entry.Body); err != nil {
		t.Fatal(err)
	}
	if _, err := p.commit("other", "s/a", "1"); !errors.Is(err, secret.ErrNoKEK) || !strings.Contains(err.Error(), "does not decrypt the key of other") {
		t.Errorf("a secret of other is written with acme's key: %v", err)
	}
}

// Without the ledger's key-encryption key nothing secret is written, and all else is.
func TestCommit_WithoutTheKey(t *testing.T) {
	s := ledgertest.Server(t)
	p := start(t, s, newKEK(t))
	p.set(t, "acme", "s/a", "1")
	kept := p.kept(t, "acme", "s/a")
	for name, kek := range map[string]secret.KEK{"none": nil, "another": newKEK(t)} {
		q := start(t, s, kek)
		if _, err := q.commit("acme", "s/a", "2"); !errors.Is(err, secret.ErrNoKEK) {
			t.Errorf("%s: a secret is written: %v", name, err)
		}
		if err := reveal(q, "acme", "s/a", kept); !errors.Is(err, secret.ErrNoKEK) {
			t.Errorf("%s: a secret is revealed: %v", name, err)
		}
		if _, err := q.commit("fresh", "s/a", "2"); !errors.Is(err, secret.ErrNoKEK) {
			t.Errorf("%s: the first secret of a tenant is written: %v", name, err)
		}
		q.set(t, "acme", "open", "2")
	}
}

// Processes that write a tenant's first secret at once use the same key.
func TestKeys_OnePerTenant(t *testing.T) {
	s, kek := ledgertest.Server(t), newKEK(t)
	processes := []*process{start(t, s, kek), start(t, s, kek), start(t, s, kek)}
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			if _, err := processes[i%3].commit("acme", fmt.Sprintf("s/%d", i), "1"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, p := range processes {
		if err := p.Replica.Wait(t.Context(), "acme", 12); err != nil {
			t.Fatal(err)
		}
		for i := range 12 {
			key := ledger.Key(fmt.Sprintf("s/%d", i))
			if err := reveal(p, "acme", key, p.kept(t, "acme", key)); err != nil {
				t.Errorf("%s: %v", key, err)
			}
		}
	}
}

func TestShred(t *testing.T) {
	dir := t.TempDir()
	s, err := journal.StartServer(journal.ServerConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	kek := newKEK(t)
	p, q := start(t, s, kek), start(t, s, kek)
	if _, _, err := p.ring.Shred(t.Context(), p.ledger, "acme", "olga"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("a tenant without a key: %v", err)
	}
	p.set(t, "acme", "s/a", `"hunter2"`)
	p.set(t, "other", "s/a", `"theirs"`)
	kept := p.kept(t, "acme", "s/a")
	if err := reveal(q, "acme", "s/a", kept); err != nil {
		t.Fatal(err)
	}
	bucket, err := p.Journal.OpenBucket(t.Context(), journal.Keys)
	if err != nil {
		t.Fatal(err)
	}
	entry, err := bucket.Get(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	if n := occurs(t, dir, entry.Body); n == 0 {
		t.Fatal("the key is in no file, so this test would find nothing")
	}

	ids, rev, err := p.ring.Shred(t.Context(), p.ledger, "acme", "olga")
	if err != nil || len(ids) != 1 || rev != 2 {
		t.Fatalf("shredded are %v, @%d: %v", ids, rev, err)
	}
	if v := p.kept(t, ledger.System, ledger.Key("shred/acme/"+ids[0])); v != `{"state":"destroyed","by":"olga"}` {
		t.Errorf("recorded is %s", v)
	}
	if n := occurs(t, dir, entry.Body); n != 0 {
		t.Errorf("the key is still in %d files", n)
	}
	if err := reveal(p, "acme", "s/a", kept); !errors.Is(err, secret.ErrDestroyed) || !strings.Contains(err.Error(), "olga has shredded acme") {
		t.Errorf("where it was shredded: %v", err)
	}
	await(t, "the other process refuses the key that it has in memory", func() bool {
		return errors.Is(reveal(q, "acme", "s/a", kept), secret.ErrDestroyed)
	})
	if err := reveal(p, "other", "s/a", p.kept(t, "other", "s/a")); err != nil {
		t.Errorf("another tenant's secret: %v", err)
	}

	q.set(t, "acme", "s/a", `"new"`) // with a new key
	if err := p.Replica.Wait(t.Context(), "acme", 2); err != nil {
		t.Fatal(err)
	}
	if err := reveal(p, "acme", "s/a", p.kept(t, "acme", "s/a")); err != nil {
		t.Errorf("a secret that was written since: %v", err)
	}
	if err := reveal(p, "acme", "s/a", kept); !errors.Is(err, secret.ErrDestroyed) {
		t.Errorf("an old secret after a new key: %v", err)
	}
}

// A shredding that was killed between its steps is finished by the next one, and the
// key is used no more meanwhile.
func TestShred_KilledHalfway(t *testing.T) {
	p := start(t, ledgertest.Server(t), newKEK(t))
	p.set(t, "acme", "s/a", "1")
	kept := p.kept(t, "acme", "s/a")
	killed := errors.New("killed")
	if _, _, err := p.ring.Shred(t.Context(), once{p.ledger, new(int), killed}, "acme", "olga"); !errors.Is(err, killed) {
		t.Fatal(err)
	}
	if err := reveal(p, "acme", "s/a", kept); !errors.Is(err, secret.ErrDestroyed) {
		t.Errorf("after the first step: %v", err)
	}
	p.set(t, "acme", "s/a", "2") // makes a new key
	ids, _, err := p.ring.Shred(t.Context(), p.ledger, "acme", "ann")
	if err != nil || len(ids) != 2 {
		t.Fatalf("shredded are %v: %v", ids, err)
	}
	for _, id := range ids {
		if v := p.kept(t, ledger.System, ledger.Key("shred/acme/"+id)); v != `{"state":"destroyed","by":"ann"}` {
			t.Errorf("of %s is recorded %s", id, v)
		}
	}
}

// once is a ledger that takes one commit.
type once struct {
	*ledger.Ledger
	taken *int
	err   error
}

func (o once) Commit(ctx context.Context, t ledger.Tenant, cs ledger.ChangeSet) (ledger.Result, error) {
	if *o.taken++; *o.taken > 1 {
		return ledger.Result{}, o.err
	}
	return o.Ledger.Commit(ctx, t, cs)
}

// A process that hears nothing of a shredding forgets the key soon.
func TestKeys_CacheExpires(t *testing.T) {
	s, kek := ledgertest.Server(t), newKEK(t)
	p := start(t, s, kek)
	p.set(t, "acme", "s/a", "1")
	kept := p.kept(t, "acme", "s/a")
	var unreachable error
	cut := secret.New(secret.Config{
		KEK: kek, Replica: p.Replica, Routes: routes.NewSource(p.Replica, nil, slog.New(slog.DiscardHandler)),
		Keys: func() (secret.Keys, error) {
			if unreachable != nil {
				return nil, unreachable
			}
			return p.Journal.OpenBucket(context.Background(), journal.Keys)
		},
	})
	cut.Live(200 * time.Millisecond)
	look := func() error { _, err := cut.Reveal(t.Context(), "acme", "s/a", kept); return err }
	if err := look(); err != nil {
		t.Fatal(err)
	}
	unreachable = ledger.ErrUnavailable
	await(t, "the end of the key's life", func() bool { return errors.Is(look(), ledger.ErrUnavailable) })
}

// occurs counts the files below a folder that hold the bytes.
func occurs(t *testing.T, dir string, b []byte) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, b) {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func FuzzParse(f *testing.F) {
	f.Add(`{"$secret":"v1:0123456789abcdef:AAECAwQ"}`)
	f.Add(`{"$secret":"v1:0123456789abcdef:"}`)
	f.Add("{\"$secret\":\"v1:0123456789abcdef:AA\nEC\"}")
	f.Add(`{"$secret":"v2:x"}`)
	f.Fuzz(func(t *testing.T, text string) {
		again, err := secret.Reread(text)
		if err != nil {
			return
		}
		if again != text || !secret.Sealed(ledger.Value(text)) {
			t.Fatalf("%q is read, and would be written as %q", text, again)
		}
		if v, err := ledger.ParseValue(text); err != nil || string(v) != text {
			t.Fatalf("%q is read, and is no value: %v", text, err)
		}
	})
}

func BenchmarkKeyring(b *testing.B) {
	p := start(b, ledgertest.Server(b), newKEK(b))
	change := []ledger.Change{{Key: "s/a", Value: ledger.Value(`"` + strings.Repeat("x", 254) + `"`)}}
	p.set(b, "acme", "s/a", string(change[0].Value))
	kept := p.kept(b, "acme", "s/a")
	b.Run("seal", func(b *testing.B) {
		for b.Loop() {
			if _, err := p.ring.Seal(b.Context(), "acme", change, false); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("reveal", func(b *testing.B) {
		for b.Loop() {
			if err := reveal(p, "acme", "s/a", kept); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A request that sets secrets can be repeated, with the same secrets only, and nothing in
// the journal reveals them.
func TestCommit_RequestIDWithSecrets(t *testing.T) {
	p := start(t, ledgertest.Server(t), newKEK(t))
	request := func(secret ledger.Value) (ledger.Result, error) {
		return p.ledger.Commit(t.Context(), "acme", ledger.ChangeSet{
			Author: "ann", RequestID: "r1", Changes: []ledger.Change{{Key: "s/a", Value: secret}, {Key: "open/a", Value: "1"}},
		})
	}
	first, err := request(`"hunter2"`)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := request(`"hunter2"`); err != nil || again.ID != first.ID || !again.Repeated {
		t.Errorf("again: %v, %v", again, err)
	}
	var reused *ledger.RequestError
	if _, err := request(`"hunter3"`); !errors.As(err, &reused) {
		t.Errorf("with another secret: %v, want a RequestError", err)
	}
	other := ledger.ChangeSet{Author: "ann", RequestID: "r2", Changes: []ledger.Change{{Key: "s/a", Value: `"hunter4"`}, {Key: "open/a", Value: "1"}}, AllowEmpty: true}
	if _, err := p.ledger.Commit(t.Context(), "acme", other); err != nil {
		t.Fatal(err)
	}
	v, err := p.Replica.View("acme", replica.At{})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	var hashes [][]byte
	for rev := range 2 {
		c, err := v.Commit(ledger.Revision(rev + 1))
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, c.RequestHash)
	}
	if len(hashes[0]) == 0 || !bytes.Equal(hashes[0], hashes[1]) {
		t.Errorf("the hash of a request depends on its secrets: %x, %x", hashes[0], hashes[1])
	}
	// Nothing can be compared with what was destroyed: the first outcome stays.
	if _, _, err := p.ring.Shred(t.Context(), p.ledger, "acme", "olga"); err != nil {
		t.Fatal(err)
	}
	if again, err := request(`"hunter2"`); err != nil || again.ID != first.ID {
		t.Errorf("after it was shredded: %v, %v", again, err)
	}
}
