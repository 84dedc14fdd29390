package schema_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/ledger/schema"
	"pgregory.net/rapid"
)

// op is one operation on a tenant; empty values delete.
type op struct {
	changes []ledger.Change
	back    ledger.Revision // so many revisions, if it is a rollback
	allow   bool
}

func ops(lenient bool) *rapid.Generator[[]op] {
	keys := rapid.SampledFrom([]ledger.Key{"a", "a/b", "a/b/c", "a/d", "e", "e/f"})
	values := rapid.SampledFrom([]ledger.Value{"1", "2", `"s"`, `{"x":1}`, `{"x":"s"}`, ""})
	prefixes := rapid.SampledFrom([]ledger.Key{"_schema/a", "_schema/a/b", "_schema/e"})
	schemas := rapid.SampledFrom([]ledger.Value{
		"", `{"type":"integer"}`, `{"type":"string"}`, `{"maximum":1}`, `{"properties":{"x":{"$ref":"stele:///e"}}}`, `{"anyOf":[{"type":"object"},{"type":"integer"}]}`, `true`,
	})
	one := rapid.Custom(func(t *rapid.T) op {
		if rapid.IntRange(0, 5).Draw(t, "kind") == 0 {
			return op{back: ledger.Revision(rapid.IntRange(1, 5).Draw(t, "back")), allow: lenient && rapid.Bool().Draw(t, "allow")}
		}
		o := op{allow: lenient && rapid.Bool().Draw(t, "allow")}
		seen := make(map[ledger.Key]bool)
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			k, v := keys.Draw(t, "key"), values.Draw(t, "value")
			if rapid.IntRange(0, 2).Draw(t, "schema") == 0 {
				k, v = prefixes.Draw(t, "prefix"), schemas.Draw(t, "document")
			}
			if !seen[k] {
				seen[k] = true
				o.changes = append(o.changes, ledger.Change{Key: k, Value: v, Delete: v == ""})
			}
		}
		return o
	})
	return rapid.SliceOfN(one, 5, 30)
}

func (w *world) do(t ledger.Tenant, o op) error {
	ctx := w.ctx
	if o.back > 0 {
		head := w.Replica.Head(t).Revision
		to := head - min(head, o.back)
		_, err := w.ledger.Rollback(ctx, t, ledger.Rollback{To: to, Request: ledger.Request{AllowInvalid: o.allow}})
		return err
	}
	_, err := w.ledger.Commit(ctx, t, ledger.ChangeSet{Changes: o.changes, AllowInvalid: o.allow})
	return err
}

// Whatever two processes do at once, no commit sets a value that violates the tenant's
// schemas after that commit; and unless violations are explicitly allowed, no state has
// one.
func TestCommit_NeverViolatesASchema(t *testing.T) {
	server := ledgertest.Server(t)
	worlds := []*world{start(t, server), start(t, server)}
	tenants, taken, refusals := 0, 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		lenient := rapid.Bool().Draw(rt, "lenient")
		tenants++
		tenant := ledger.Tenant(fmt.Sprintf("t%d", tenants))
		var running sync.WaitGroup
		var mu sync.Mutex
		for i, w := range worlds {
			all := ops(lenient).Draw(rt, fmt.Sprintf("process %d", i))
			for _, half := range [][]op{all[:len(all)/2], all[len(all)/2:]} { // so that some share a record
				running.Go(func() {
					for _, o := range half {
						err := w.do(tenant, o)
						var invalid *ledger.InvalidError
						mu.Lock()
						switch {
						case err == nil:
							taken++
						case errors.As(err, &invalid):
							refusals++
						default:
							t.Errorf("%+v: %v", o, err)
						}
						mu.Unlock()
					}
				})
			}
		}
		running.Wait()
		worlds[0].replay(rt, tenant, lenient)
	})
	if taken == 0 || refusals == 0 {
		t.Errorf("%d commits and %d refusals: they cannot have shown anything", taken, refusals)
	}
	t.Logf("%d tenants, %d taken, %d refused", tenants, taken, refusals)
}

func (w *world) replay(t *rapid.T, tenant ledger.Tenant, lenient bool) {
	if err := w.Replica.Wait(w.ctx, tenant, w.Replica.Head(tenant).Revision); err != nil {
		t.Fatal(err)
	}
	for rev := ledger.Revision(1); rev <= w.Replica.Head(tenant).Revision; rev++ {
		v, err := w.Replica.View(tenant, replica.At{Revision: rev})
		if err != nil {
			t.Fatal(err)
		}
		set, err := schema.At(tenant, v)
		if err != nil {
			t.Fatal(err)
		}
		for e, err := range v.List("", "") {
			if err != nil {
				t.Fatal(err)
			}
			if e.Key.Reserved() || lenient && e.Revision != rev {
				continue
			}
			if found, _, err := set.Check(t.Context(), e.Key, e.Value, false); err != nil || len(found) > 0 {
				t.Errorf("%s%s has %s = %s, set by %s: %v", tenant, rev, e.Key, e.Value, e.Revision, found)
			}
		}
		v.Close()
	}
}
