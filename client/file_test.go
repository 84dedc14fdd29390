package client

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

func example() (saved, *stelev1.WatchState) {
	return saved{Tenant: "acme", Epoch: []byte{1, 2}, Prefixes: []string{"a/"}, Current: time.Unix(1764000000, 5).UTC()},
		&stelev1.WatchState{Revision: 7, Id: []byte("0123456789"), Entries: []*stelev1.Entry{{Key: "a/b", Value: "1", Revision: 6}, {Key: "a/s", Value: mask, Revision: 7, Secret: true}}}
}

func encoded(t testing.TB) []byte {
	t.Helper()
	b, err := encodeFile(example())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func loaded(t *testing.T, file []byte) (c *Client, log *bytes.Buffer, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "settings")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	log = &bytes.Buffer{}
	c = &Client{cfg: Config{Addresses: []string{"a:1"}, Tenant: "acme", Prefixes: []string{"a/"}, File: path, Token: StaticToken(""), Log: slog.New(slog.NewTextHandler(log, nil))}}
	if err := c.cfg.check(); err != nil {
		t.Fatal(err)
	}
	c.state.Store(replaced(nil).finish(0, nil, nil))
	c.known.Store(&knowledge{})
	c.load()
	return c, log, path
}

func TestFile_IsLoaded(t *testing.T) {
	c, log, path := loaded(t, encoded(t))
	if e, ok := c.Get("a/b"); !ok || e.Value != "1" || e.Revision != 6 || c.Status().Revision != 7 || log.Len() > 0 {
		t.Errorf("it has %+v at %d, and says %s", e, c.Status().Revision, log)
	}
	if e, _ := c.Get("a/s"); !e.Secret {
		t.Error("a secret is not marked as secret any more")
	}
	if got := c.known.Load().current; !got.Equal(time.Unix(1764000000, 5)) {
		t.Errorf("it was current at %s", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestFile_ForeignIsSetAside(t *testing.T) {
	change := func(f func(*saved, *stelev1.WatchState)) []byte {
		head, s := example()
		f(&head, s)
		b, err := encodeFile(head, s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := encoded(t)
	flipped := bytes.Clone(good)
	flipped[len(flipped)-3] ^= 1
	for name, tc := range map[string]struct {
		file []byte
		says string
	}{
		"empty":          {nil, "not a file of a client"},
		"something else": {[]byte("hello\nworld\n"), "not a file of a client"},
		"cut off":        {good[:len(good)-1], "damaged"},
		"a flipped bit":  {flipped, "damaged"},
		"another tenant": {change(func(h *saved, _ *stelev1.WatchState) { h.Tenant = "globex" }), "globex"},
		"other prefixes": {change(func(h *saved, _ *stelev1.WatchState) { h.Prefixes = []string{"a/", "b/"} }), "b/"},
		"no ledger":      {change(func(h *saved, _ *stelev1.WatchState) { h.Epoch = nil }), "which ledger"},
		"no commit":      {change(func(_ *saved, s *stelev1.WatchState) { s.Id = nil }), "which commit"},
		"a later format": {bytes.Replace(good, []byte("state 2 "), []byte("state 3 "), 1), "not a file of a client"},
	} {
		t.Run(name, func(t *testing.T) {
			c, log, path := loaded(t, tc.file)
			if c.have || c.epoch != nil || len(c.Snapshot().List("")) > 0 {
				t.Error("it was taken")
			}
			if !strings.Contains(log.String(), tc.says) {
				t.Errorf("it says %s", log)
			}
			if b, err := os.ReadFile(path + ".aside"); err != nil || !bytes.Equal(b, tc.file) {
				t.Errorf("aside is %q, %v", b, err)
			}
			if _, err := os.Stat(path); err == nil {
				t.Error("it is still there")
			}
		})
	}
}

func TestFile_IsReplacedAtomically(t *testing.T) {
	path := filepath.Join(t.TempDir(), "settings")
	for _, text := range []string{"one", "two"} {
		if err := writeFile(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != text {
			t.Errorf("%q, %v", b, err)
		}
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := writeFile(filepath.Join(t.TempDir(), "no", "such"), nil); err == nil {
		t.Error("a folder that is not there was written to")
	}
}

func FuzzDecodeFile(f *testing.F) {
	_, body, _ := bytes.Cut(encoded(f), []byte("\n"))
	f.Add(body, true)
	f.Add(encoded(f), false)
	f.Add([]byte("{}\n"), true)
	f.Add([]byte(fileMagic+"\n\n"), false)
	f.Fuzz(func(t *testing.T, b []byte, sealed bool) {
		if sealed { // or else hardly any gets past the checksum
			sum := sha256.Sum256(b)
			b = slices.Concat([]byte(fileMagic+hex.EncodeToString(sum[:])+"\n"), b)
		}
		head, s, err := decodeFile(b)
		if err != nil {
			return
		}
		again, err := encodeFile(head, s)
		if err != nil {
			return // text that protobuf does not take
		}
		head2, s2, err := decodeFile(again)
		if err != nil || !proto.Equal(s, s2) || head.Tenant != head2.Tenant || !bytes.Equal(head.Epoch, head2.Epoch) {
			t.Errorf("%q is read as %+v, and then as %+v: %v", b, head, head2, err)
		}
	})
}

// A state equals a map to which the same was done, and one that was made earlier
// does not change.
func TestState_EqualsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &Client{cfg: Config{Log: slog.New(slog.DiscardHandler)}, changed: make(map[string]bool)}
		c.state.Store(replaced(nil).finish(0, nil, nil))
		c.known.Store(&knowledge{})
		model := make(map[string]string)
		type past struct {
			s    Snapshot
			want map[string]string
		}
		var pasts []past
		for rev := range uint64(rapid.IntRange(1, 30).Draw(t, "commits")) {
			commit := &stelev1.WatchCommit{Revision: rev + 1}
			for _, key := range rapid.SliceOfNDistinct(rapid.StringMatching(`[ab]/[a-e]`), 1, 4, rapid.ID).Draw(t, "keys") {
				ch := &stelev1.Change{Key: key, Delete: rapid.Bool().Draw(t, "delete")}
				if delete(model, key); !ch.Delete {
					ch.Value = rapid.SampledFrom([]string{"1", "2", mask}).Draw(t, "value")
					model[key] = ch.Value
				}
				commit.Changes = append(commit.Changes, ch)
			}
			c.apply(commit)
			c.apply(commit) // again, as after a reconnection
			want := make(map[string]string)
			for k, v := range model {
				want[k] = v
			}
			pasts = append(pasts, past{c.Snapshot(), want})
		}
		for _, p := range pasts {
			list := p.s.List("")
			if len(list) != len(p.want) {
				t.Fatalf("%d keys, not %d", len(list), len(p.want))
			}
			for i, e := range list {
				if i > 0 && list[i-1].Key >= e.Key {
					t.Fatal("they are not in order")
				}
				if v := p.want[e.Key]; v != e.Value || e.Secret != (v == mask) {
					t.Fatalf("%+v is not %s", e, v)
				}
			}
		}
	})
}

// The mask of a secret is never used as its value.
func TestValue_SecretIsAnError(t *testing.T) {
	c := &Client{cfg: Config{Log: slog.New(slog.DiscardHandler), Prefixes: []string{""}}, slotsOf: make(map[string][]int)}
	c.state.Store(replaced(nil).finish(0, nil, nil))
	before := c.Snapshot()
	v := Bind(c, "a/password", "none")
	for rev, want := range []string{`"one"`, mask, `"two"`} {
		c.apply(&stelev1.WatchCommit{Revision: uint64(rev) + 1, Changes: []*stelev1.Change{{Key: "a/password", Value: want}}})
		switch err := v.Err(); {
		case want == mask && (!errors.Is(err, errSecret) || v.Get() != "one"):
			t.Errorf("it is %q: %v", v.Get(), err)
		case want != mask && (err != nil || `"`+v.Get()+`"` != want):
			t.Errorf("it is %q and not %s: %v", v.Get(), want, err)
		}
	}
	if v.In(before) != "none" || v.In(c.Snapshot()) != "two" {
		t.Errorf("it was %q and is %q", v.In(before), v.In(c.Snapshot()))
	}
}

func TestAge_Grows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &knowledge{}
		if k.age() < 100*365*24*time.Hour {
			t.Error("what is not known is young")
		}
		for _, current := range []func() time.Time{time.Now, func() time.Time { return time.Now().Round(0) }} { // of this process, and of a file
			k.current = current()
			time.Sleep(3 * time.Second)
			if k.age() != 3*time.Second {
				t.Errorf("the age is %s", k.age())
			}
		}
	})
}

// However many attempts have failed, a thousand clients do not come at once, and
// none stays away.
func TestBackoff_IsSpread(t *testing.T) {
	for failed := range 100 {
		limit := min(firstPause<<min(failed, 10), longestPause)
		var tenths [10]int
		for range 2000 {
			p := pause(failed)
			if p < 0 || p >= limit {
				t.Fatalf("after %d failures it waits %s", failed, p)
			}
			tenths[p*10/limit]++
		}
		for i, n := range tenths {
			if n < 100 { // 200 are to be expected
				t.Errorf("after %d failures %d of 2000 come in tenth %d of %s", failed, n, i, limit)
			}
		}
	}
}

func TestGateways_AreTriedInTurn(t *testing.T) {
	now := time.Now()
	first := make(map[string]int)
	for range 300 {
		g := newGateways([]string{"a", "b", "c"})
		round := make(map[string]bool)
		for i := range 6 { // while none answers
			a := g.next(now)
			if i == 0 {
				first[a]++
			}
			if i == 3 && len(round) != 3 {
				t.Fatalf("a round is %v", round)
			}
			round[a] = true
			now = now.Add(time.Second)
			g.leave(a, now)
		}
	}
	for a, n := range first {
		if n < 50 { // 100 are to be expected
			t.Errorf("%s was first %d times", a, n)
		}
	}
	g := newGateways([]string{"a", "b", "c"})
	g.leave("a", now)
	g.leave("b", now)
	if g.better("c", now) || !g.better("a", now) {
		t.Error("only c is better than the others")
	}
	for range 10 {
		if a := g.next(now); a != "c" {
			t.Errorf("it goes to %s", a)
		}
	}
	if now = now.Add(avoidance); !g.better("c", now) {
		t.Error("a gateway is avoided for too long")
	}
}

// The state of a client names its commit, also before the first commit that it follows: a file
// without it would not be loaded again.
func TestState_NamesItsCommit(t *testing.T) {
	c, _, _ := loaded(t, encoded(t))
	f := &follower{client: c, initial: true}
	for _, s := range []*stelev1.WatchState{
		{Entries: []*stelev1.Entry{{Key: "a/b", Value: "2", Revision: 8}}, More: true},
		{Revision: 8, Id: []byte("the commit")},
	} {
		if err := f.state(s); err != nil {
			t.Fatal(err)
		}
	}
	if s := c.state.Load(); s.revision != 8 || string(s.id) != "the commit" {
		t.Errorf("it has the state @%d of the commit %q", s.revision, s.id)
	}
}
