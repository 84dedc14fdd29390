package replica_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	bolt "go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

// directUpstream gives a test the target that it may hand commits over to.
type directUpstream struct {
	epoch   ledger.Epoch
	targets chan *replica.Target
}

func (u directUpstream) Epoch(context.Context) (ledger.Epoch, error) { return u.epoch, nil }

func (u directUpstream) Follow(ctx context.Context, _ ledger.Epoch, to *replica.Target) error {
	u.targets <- to
	<-ctx.Done()
	return ctx.Err()
}

// edge is a replica that a test hands the commits of a core over to.
type edge struct {
	*replica.Replica
	to *replica.Target
}

func startEdge(t failer, path string, core *replica.Replica, h replica.History, held ...ledger.Tenant) *edge {
	t.Helper()
	r, err := replica.Open(replica.Config{Path: path, Tenants: held, History: h, Upstream: "core.example:7443"})
	if err != nil {
		t.Fatal(err)
	}
	u := directUpstream{core.Epoch(), make(chan *replica.Target, 1)}
	r.FollowUpstream(u)
	return &edge{r, <-u.targets}
}

// pull hands over what the edge has not, in batches of so many commits, of all tenants or only
// of some.
func (e *edge) pull(t failer, core *replica.Replica, batch int, only ...ledger.Tenant) {
	t.Helper()
	heads, position := core.AllHeads()
	for _, h := range heads {
		if len(only) > 0 && !slices.Contains(only, h.Tenant) {
			continue
		}
		var all []replica.Replicated
		for rec, err := range core.TenantRecords(h.Tenant, e.Head(h.Tenant).Revision) {
			c, decodeErr := rec.Commit()
			if err := errors.Join(err, decodeErr); err != nil {
				t.Fatal(err)
			}
			all = append(all, replica.Replicated{Sequence: rec.Sequence, Commit: c})
		}
		for part := range slices.Chunk(all, batch) {
			if _, err := e.to.Apply(context.Background(), part); err != nil {
				t.Fatal(err)
			}
		}
	}
	e.to.Progress(position, position, time.Now())
}

func (e *edge) close(t failer) {
	t.Helper()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

// compareKept says how a replica that keeps history since a revision differs from the
// model: in anything since, and in the errors about what was before.
func (h *history) compareKept(r *replica.Replica, kept ledger.Revision, rng *rand.Rand) error {
	head := h.head()
	v, err := r.View(h.tenant, replica.At{})
	if err != nil {
		return err
	}
	defer v.Close()
	rev, at, cut, err := v.HistoryStart()
	if err != nil || cut != (kept > 1) || cut && (rev != kept || !at.Equal(h.commits[kept-1].Time)) {
		return fmt.Errorf("%s keeps history since %s of %s (%v, %v), want %s", h.tenant, rev, at, cut, err, kept)
	}
	refused := func(err error) error {
		var before *ledger.HistoryError
		if !errors.As(err, &before) || before.First != kept || !before.FirstTime.Equal(h.commits[kept-1].Time) || before.Upstream != "core.example:7443" {
			return fmt.Errorf("%s keeps history since %s, and the error is: %v", h.tenant, kept, err)
		}
		return nil
	}
	keys, prefixes := h.keys(), []ledger.Prefix{"a/", "k/1"}
	inForce := make(map[ledger.Revision]bool) // the commits before kept that must be there
	for _, e := range h.states[kept-1] {
		inForce[e.Revision] = true
	}
	sample := []ledger.Revision{1, max(kept, 2) - 1, kept, min(kept+1, head), head}
	for range 12 {
		sample = append(sample, 1+ledger.Revision(rng.IntN(int(head))))
	}
	for _, rev := range sample {
		want := h.commits[rev-1]
		c, err := v.Commit(rev)
		_, id, summaryErr := v.Summary(rev)
		found, findErr := v.FindID(want.ID[:])
		_, made, requestErr := v.Request(requestOf(want.set))
		old, viewErr := r.View(h.tenant, replica.At{Revision: rev})
		if viewErr == nil {
			old.Close()
		}
		if rev >= kept || inForce[rev] {
			if err == nil {
				err = want.compare(c)
			}
			if err := errors.Join(err, summaryErr, findErr, requestErr); err != nil {
				return fmt.Errorf("commit %s%s: %w", h.tenant, rev, err)
			}
			if id != want.ID || found != rev || made != (want.set.RequestID != "") {
				return fmt.Errorf("commit %s%s is found as %s, and its request: %v", h.tenant, rev, found, made)
			}
		} else {
			if err := errors.Join(refused(err), refused(summaryErr)); err != nil {
				return fmt.Errorf("commit %s: %w", rev, err)
			}
			if !errors.Is(findErr, ledger.ErrNotFound) || made || requestErr != nil {
				return fmt.Errorf("commit %s%s, which is not kept, is found: %v, %v, %w", h.tenant, rev, findErr, made, requestErr)
			}
		}
		if rev < kept {
			if err := refused(viewErr); err != nil {
				return fmt.Errorf("view %s: %w", rev, err)
			}
			if want.Time.Before(h.commits[kept-1].Time) {
				_, err := r.View(h.tenant, replica.At{Time: want.Time})
				if err := refused(err); err != nil {
					return fmt.Errorf("view at %s: %w", want.Time, err)
				}
			}
			continue
		}
		if err := h.compareState(r, replica.At{Revision: rev}, rev, keys, prefixes); err != nil {
			return err
		}
		if err := h.compareState(r, replica.At{Time: want.Time}, h.at(want.Time), nil, nil); err != nil {
			return err
		}
		if err := h.listsRight(r, rev); err != nil {
			return err
		}
		for i, ch := range want.set.Changes {
			was, err := v.Version(ch.Key, rev-1)
			e := h.states[rev-1][ch.Key]
			if err != nil || was.Value != e.Value || e.Value != "" && was.Revision != want.previous[i] {
				return fmt.Errorf("before %s%s %s was %v, %v; want %v", h.tenant, rev, ch.Key, was, err, e)
			}
		}
	}
	for _, e := range h.selected(head, "", "") {
		s, id, err := v.Summary(e.Revision)
		if want := h.commits[e.Revision-1]; err != nil || id != want.ID || s.Message != want.set.Message || !s.Time.Equal(want.Time) {
			return fmt.Errorf("blame %s of %s: %v, %w", e.Key, h.tenant, s, err)
		}
	}
	for _, q := range []replica.Query{{From: head}, {From: head, Names: []ledger.Name{"a/"}}, {From: head, Names: []ledger.Name{ledger.Name(keys[rng.IntN(len(keys))])}}} {
		var want, got []ledger.Revision
		for rev := head; rev >= kept; rev-- {
			if slices.ContainsFunc(h.commits[rev-1].set.Changes, q.Match) {
				want = append(want, rev)
			}
		}
		commits, err := collect(v.Log(q).All())
		for _, c := range commits {
			got = append(got, c.Revision)
		}
		if err != nil || !slices.Equal(got, want) {
			return fmt.Errorf("log %v of %s: %v, %v; want %v", q, h.tenant, got, err, want)
		}
	}
	pick := func() ledger.Revision { return kept + ledger.Revision(rng.IntN(int(head-kept)+1)) }
	for _, p := range [][2]ledger.Revision{{pick(), pick()}, {0, pick()}, {pick(), head}} {
		var got []ledger.Change
		diffs, err := collect(v.Diff(p[0], p[1], "", ""))
		for _, d := range diffs {
			got = append(got, d.Change())
		}
		if want := h.differences(p[0], p[1], ""); err != nil || !slices.Equal(got, want) {
			return fmt.Errorf("diff %v of %s: %v, %v; want %v", p, h.tenant, got, err, want)
		}
	}
	if kept > 1 {
		logErr := drain(v.Log(replica.Query{From: kept - 1}).All())
		diffErr := drain(v.Diff(kept-1, head, "", ""))
		recordsErr := drain(r.TenantRecords(h.tenant, kept-2))
		if err := errors.Join(refused(logErr), refused(diffErr), refused(recordsErr)); err != nil {
			return err
		}
	}
	return h.compareRecords(r, kept)
}

// compareRecords compares the commits that children get.
func (h *history) compareRecords(r *replica.Replica, kept ledger.Revision) error {
	compare := func(got []replica.Recorded, err error) error {
		if err != nil || len(got) != len(h.commits)-int(kept)+1 {
			return fmt.Errorf("%d records of %s since %s up to %s: %w", len(got), h.tenant, kept, h.head(), err)
		}
		for i, rec := range got {
			if want := h.commits[int(kept)-1+i]; rec.Revision != want.Revision || ledger.IDOf(rec.Encoded) != want.ID {
				return fmt.Errorf("record %d of %s is %s, want %s", i, h.tenant, rec.Revision, want.Revision)
			}
		}
		return nil
	}
	only := func(t ledger.Tenant) bool { return t == h.tenant }
	if err := compare(collect(r.TenantRecords(h.tenant, kept-1))); err != nil {
		return err
	}
	if err := compare(collect(r.Records(0, only).All())); err != nil {
		return err
	}
	got, err := collect(r.RecordsBefore(0, only))
	slices.Reverse(got)
	return compare(got, err)
}

// drawSet is a change set over a few keys, so that many versions pile up.
func drawSet(t *rapid.T, n int) ledger.ChangeSet {
	set := ledger.ChangeSet{Message: fmt.Sprint("m", n), AllowEmpty: true} // deleting a missing key is a commit of the model
	if n%3 > 0 {
		set.RequestID = fmt.Sprint("request-", n)
	}
	names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a/b", "a/c", "a/d/e", "k/1", "k/12", "z"}), 1, 4, rapid.ID).Draw(t, "keys")
	for i, name := range names {
		if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
			set.Changes = append(set.Changes, ledger.Change{Key: ledger.Key(name), Delete: true})
		} else {
			set.Changes = append(set.Changes, ledger.Change{Key: ledger.Key(name), Value: ledger.Value(fmt.Sprintf("%d", 100*n+i))})
		}
	}
	return set
}

// TestPrune_KeptHistoryEqualsModel writes, flushes, drops history, restarts and kills at
// every step of dropping. Every read of what is kept equals the model, and every other
// one is refused.
func TestPrune_KeptHistoryEqualsModel(t *testing.T) {
	t.Cleanup(replica.NoFlushLoop()) // so that the model knows what is in the file
	dir := t.TempDir()
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		path := filepath.Join(dir, fmt.Sprintf("edge-%d.db", run))
		core := start(t, filepath.Join(dir, fmt.Sprintf("core-%d.db", run)), newFakeJournal())
		defer core.close(t)
		limited := replica.History{For: time.Hour}
		if rapid.Bool().Draw(t, "head only") {
			limited = replica.History{HeadOnly: true}
		}
		e := startEdge(t, path, core.Replica, limited)
		defer func() { e.close(t) }()
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		histories := []*history{newHistory("acme"), newHistory("a")}
		kept := map[ledger.Tenant]ledger.Revision{"acme": 1, "a": 1}
		filed := map[ledger.Tenant]ledger.Revision{}
		compare := func(r *replica.Replica, kept map[ledger.Tenant]ledger.Revision) {
			t.Helper()
			for _, h := range histories {
				if h.head() == 0 {
					continue
				}
				if err := h.compareKept(r, kept[h.tenant], rng); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := r.Check(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		n := 0
		write := func(t *rapid.T) {
			h := histories[rng.IntN(len(histories))]
			for range rapid.IntRange(1, 25).Draw(t, "commits") {
				n++
				h.write(t, core.ledger, drawSet(t, n))
			}
			e.pull(t, core.Replica, 7)
		}
		flush := func(t *rapid.T) {
			if err := e.Flush(); err != nil {
				t.Fatal(err)
			}
			for _, h := range histories {
				filed[h.tenant] = h.head()
			}
		}
		write(t)
		t.Repeat(map[string]func(*rapid.T){
			"write": write,
			"flush": flush,
			"prune": func(t *rapid.T) {
				h := histories[rng.IntN(len(histories))]
				if h.head() == 0 {
					t.Skip("no commit")
				}
				now := h.commits[rng.IntN(int(h.head()))].Time.Add(time.Hour)
				wanted := make(map[ledger.Tenant]ledger.Revision)
				for _, h := range histories {
					end := filed[h.tenant]
					if !limited.HeadOnly {
						end = min(end, h.at(now.Add(-time.Hour)))
					}
					wanted[h.tenant] = max(end, kept[h.tenant])
				}
				step := 0
				err := e.Prune(now, rapid.IntRange(1, 100).Draw(t, "changes of a step"), func(left int) {
					if step++; left > 0 && rng.IntN(3) > 0 { // some of the steps, to try more histories
						return
					}
					compareKilled(t, path, fmt.Sprintf("%s-killed-%d", path, step), histories, filed, wanted, rng)
				})
				if err != nil {
					t.Fatal(err)
				}
				kept = wanted
			},
			"restart": func(t *rapid.T) {
				e.close(t)
				e = startEdge(t, path, core.Replica, limited)
				for _, h := range histories {
					filed[h.tenant] = h.head()
				}
			},
			"": func(t *rapid.T) { compare(e.Replica, kept) },
		})
	})
}

// compareKilled opens what is in the file, as after a crash. Its history begins where
// some transaction has left it: not after what was to be dropped.
func compareKilled(t *rapid.T, path, as string, histories []*history, filed, wanted map[ledger.Tenant]ledger.Revision, rng *rand.Rand) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(as, b, 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(as)
	r, err := replica.Open(replica.Config{Path: as, Upstream: "core.example:7443"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Check(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, h := range histories {
		if filed[h.tenant] == 0 {
			continue
		}
		v, err := r.View(h.tenant, replica.At{})
		if err != nil {
			t.Fatal(err)
		}
		kept, _, cut, err := v.HistoryStart()
		v.Close()
		if !cut {
			kept = 1
		}
		if err != nil || kept > wanted[h.tenant] {
			t.Fatalf("after a crash %s keeps history since %s (%v), want %s at most", h.tenant, kept, err, wanted[h.tenant])
		}
		until := &history{tenant: h.tenant, states: h.states[:filed[h.tenant]+1], commits: h.commits[:filed[h.tenant]], touched: h.touched}
		if err := until.compareKept(r, kept, rng); err != nil {
			t.Fatal(err)
		}
	}
}

// prunedFile is the file of an edge that has dropped history, and its model.
func prunedFile(t *testing.T) (path string, h *history, kept ledger.Revision) {
	t.Helper()
	dir := t.TempDir()
	core := start(t, filepath.Join(dir, "core.db"), newFakeJournal())
	defer core.close(t)
	h = newHistory("acme")
	for i := range 1200 {
		set := churn(i)
		set.RequestID = fmt.Sprint("r", i)
		set.Changes = append(set.Changes, ledger.Change{Key: ledger.Key(fmt.Sprintf("long/%03d", i*37%500)), Value: ledger.Value(fmt.Sprint(i))})
		h.write(t, core.ledger, set)
	}
	path = filepath.Join(dir, "edge.db")
	e := startEdge(t, path, core.Replica, replica.History{For: time.Hour})
	e.pull(t, core.Replica, 100)
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	kept = 900
	if err := e.Prune(h.commits[kept-1].Time.Add(time.Hour), 1000, func(int) {}); err != nil {
		t.Fatal(err)
	}
	kept = h.at(h.commits[kept-1].Time)
	if err := h.compareKept(e.Replica, kept, rand.New(rand.NewPCG(1, 1))); err != nil {
		t.Fatal(err)
	}
	e.close(t)
	if _, err := replica.Verify(t.Context(), path, func(ledger.Tenant, ledger.Revision, ledger.Sequence) {}); err != nil {
		t.Fatal(err)
	}
	return path, h, kept
}

// TestPrune_DamageIsFound damages a file that has dropped history at random: the damage
// is found, or changes no answer.
func TestPrune_DamageIsFound(t *testing.T) {
	path, h, kept := prunedFile(t)
	file := usedPart(t, path)
	found := make(map[string]int)
	for i := range *damages {
		kind := damageKinds[i%len(damageKinds)]
		rng := rand.New(rand.NewPCG(*damageSeed, uint64(i)))
		bad := filepath.Join(t.TempDir(), "bad.db")
		if err := os.WriteFile(bad, kind.do(rng, bytes.Clone(file)), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := replica.Verify(t.Context(), bad, func(ledger.Tenant, ledger.Revision, ledger.Sequence) {})
		if err != nil {
			found[kind.name]++
			continue
		}
		r, err := replica.Open(replica.Config{Path: bad, Upstream: "core.example:7443"})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.compareKept(r, kept, rng); err != nil {
			t.Errorf("%s, number %d, is not found: %v", kind.name, i, err)
		}
		r.Close()
	}
	t.Logf("found: %v of %d", found, *damages)
	if len(found) == 0 {
		t.Error("no damage was found")
	}
}

// TestPrune_CheckFindsWrongEntries takes single entries out of a file that has dropped
// history.
func TestPrune_CheckFindsWrongEntries(t *testing.T) {
	path, h, kept := prunedFile(t)
	var base ledger.Revision // a commit before kept that stayed
	for _, e := range h.states[kept-1] {
		base = max(base, e.Revision)
	}
	commit := func(r ledger.Revision) []byte {
		return append([]byte("acme\x00"), byte(r>>56), byte(r>>48), byte(r>>40), byte(r>>32), byte(r>>24), byte(r>>16), byte(r>>8), byte(r))
	}
	first := func(b *bolt.Bucket) []byte {
		k, _ := b.Cursor().First()
		return k
	}
	for _, c := range []struct {
		name, bucket string
		key          func(b *bolt.Bucket) []byte
	}{
		{"a commit before the kept history", "commits", func(*bolt.Bucket) []byte { return commit(base) }},
		{"the first commit of the kept history", "commits", func(*bolt.Bucket) []byte { return commit(kept) }},
		{"a commit of the kept history", "commits", func(*bolt.Bucket) []byte { return commit(kept + 9) }},
		{"a count of versions", "bases", func(*bolt.Bucket) []byte { return commit(base) }},
		{"a key", "keys", first},
		{"a block of versions", "versions", first},
		{"a block of ids", "ids", first},
		{"a run", "records", first},
		{"the request of a commit before the kept history", "requests", func(*bolt.Bucket) []byte {
			return []byte("acme\x00" + requestOf(h.commits[base-1].set))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			bad := filepath.Join(t.TempDir(), "bad.db")
			if err := os.WriteFile(bad, b, 0o600); err != nil {
				t.Fatal(err)
			}
			db, err := bolt.Open(bad, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			err = db.Update(func(tx *bolt.Tx) error {
				b := tx.Bucket([]byte(c.bucket))
				key := c.key(b)
				if b.Get(key) == nil {
					t.Fatalf("%s has no %q", c.bucket, key)
				}
				return b.Delete(key)
			})
			if err := errors.Join(err, db.Close()); err != nil {
				t.Fatal(err)
			}
			r := open(t, bad)
			if _, err := r.Check(t.Context()); !replica.IsDamage(err) {
				t.Errorf("the check says: %v", err)
			}
		})
	}
}

// TestPrune_LessAndMoreHistory starts an edge with other limits: less drops more, more
// brings nothing back.
func TestPrune_LessAndMoreHistory(t *testing.T) {
	dir := t.TempDir()
	core := start(t, filepath.Join(dir, "core.db"), newFakeJournal())
	defer core.close(t)
	h := newHistory("acme")
	path := filepath.Join(dir, "edge.db")
	rng := rand.New(rand.NewPCG(1, 1))
	kept := ledger.Revision(1)
	n := 0
	for _, limit := range []replica.History{{}, {For: time.Hour}, {}, {HeadOnly: true}, {For: time.Hour}, {}} {
		for range 40 {
			n++
			h.write(t, core.ledger, churn(n))
		}
		e := startEdge(t, path, core.Replica, limit)
		e.pull(t, core.Replica, 9)
		if err := e.Flush(); err != nil {
			t.Fatal(err)
		}
		end := h.head() - 10
		switch {
		case limit.HeadOnly:
			kept = h.head()
		case limit.For > 0:
			kept = max(kept, h.at(h.commits[end-1].Time))
		}
		if limit != (replica.History{}) {
			if err := e.Prune(h.commits[end-1].Time.Add(time.Hour), 10, func(int) {}); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.compareKept(e.Replica, kept, rng); err != nil {
			t.Fatalf("%v: %v", limit, err)
		}
		// Commits that the upstream sends again are not compared with dropped ones.
		var all []replica.Replicated
		for rec, err := range core.TenantRecords("acme", 0) {
			c, decodeErr := rec.Commit()
			if err := errors.Join(err, decodeErr); err != nil {
				t.Fatal(err)
			}
			all = append(all, replica.Replicated{Sequence: rec.Sequence, Commit: c})
		}
		if _, err := e.to.Apply(context.Background(), all); err != nil {
			t.Fatal(err)
		}
		e.close(t)
	}
}

// TestPrune_ReplicaOfJournalKeepsAll has a replica that follows a journal build a file
// again that has dropped history.
func TestPrune_ReplicaOfJournalKeepsAll(t *testing.T) {
	dir := t.TempDir()
	j := newFakeJournal()
	core := start(t, filepath.Join(dir, "core.db"), j)
	h := newHistory("acme")
	for i := range 40 {
		h.write(t, core.ledger, churn(i))
	}
	path := filepath.Join(dir, "edge.db")
	e := startEdge(t, path, core.Replica, replica.History{HeadOnly: true})
	e.pull(t, core.Replica, 9)
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := e.Prune(time.Now(), 10, func(int) {}); err != nil {
		t.Fatal(err)
	}
	e.close(t)
	core.close(t)
	again := start(t, path, j)
	defer again.close(t)
	if err := h.compareCommits(again.Replica, 32); err != nil {
		t.Fatal(err)
	}
}

// requestOf is the name of the request of a commit that the change set makes.
func requestOf(cs ledger.ChangeSet) ledger.RequestName {
	return (&ledger.Commit{Author: cs.Author, RequestID: cs.RequestID}).RequestName()
}
