package projector_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/appconfig"
	"github.com/stelehq/stele/internal/projector/directory"
	"github.com/stelehq/stele/internal/projector/dynamodb"
	"github.com/stelehq/stele/internal/projector/dynamotest"
	"github.com/stelehq/stele/internal/projector/fakeaws"
	"github.com/stelehq/stele/internal/projector/parameterstore"
	"github.com/stelehq/stele/internal/projector/s3"
	"github.com/stelehq/stele/internal/projector/secretsmanager"
	sinkstatev1 "github.com/stelehq/stele/internal/projector/sinkstate/v1"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// storeKinds are the kinds of stores, with settings that are not their defaults.
var storeKinds = map[string]struct {
	open     projector.Kind
	settings string
	dynalite bool
}{
	"appconfig":      {open: appconfig.Open, settings: `"reads":100000`},
	"directory":      {open: directory.Open},
	"documents":      {open: s3.Open, settings: `"bucket":"config","document":"{tenant}.json","reads":100000`},
	"dynamodb":       {open: dynamodb.Open, settings: `"create":true`, dynalite: true},
	"parameterstore": {open: parameterstore.Open, settings: `"rate":100000,"reads":100000,"recreate_after":"0s"`},
	"s3":             {open: s3.Open, settings: `"bucket":"config","reads":100000`},
	"secretsmanager": {open: secretsmanager.Open, settings: `"rate":100000,"reads":100000`},
}

// inheriting is a tenant with a base, and a projector to a store of one kind.
type inheriting struct {
	*world
	// opened is the projector's store. Another program's changes are made through it.
	opened atomic.Pointer[projector.Store]
	pin    ledger.Revision
}

func newInheriting(t *testing.T, name, drift string) *inheriting {
	t.Helper()
	kind := storeKinds[name]
	server, err := fakeaws.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	server.Objects.MakeBucket("config", true)
	for _, setting := range server.Environ() {
		name, value, _ := strings.Cut(setting, "=")
		t.Setenv(name, value)
	}
	settings := []string{fmt.Sprintf(`"kind":%q`, name)}
	if kind.settings != "" {
		settings = append(settings, kind.settings)
	}
	var to projector.Destinations
	if kind.dynalite {
		endpoint := dynamotest.Start(t)
		to.Endpoints = []string{endpoint}
		settings = append(settings, fmt.Sprintf(`"endpoint":%q`, endpoint))
	}
	w := &inheriting{world: newWorld(t, fmt.Sprintf(`{"sinks":{"sink":{%s}},"routes":[{"prefix":"a/","sinks":["sink"],"drift":%q}]}`, strings.Join(settings, ","), drift))}
	w.destinations = to
	w.kinds = map[string]projector.Kind{name: func(ctx context.Context, s projector.Settings) (projector.Sink, error) {
		sink, err := kind.open(ctx, s)
		if err == nil {
			store := sink.(projector.Store)
			w.opened.Store(&store)
		}
		return sink, err
	}}
	w.start(w.node, true)
	return w
}

// base commits to the base, and moves the pin.
func (w *inheriting) base(set map[ledger.Key]string) {
	w.t.Helper()
	w.pin = w.commit("defaults", set)
	w.commit("acme", map[ledger.Key]string{ledger.BasesKey: fmt.Sprintf(`[{"tenant":"defaults","revision":%d}]`, w.pin)})
}

// held are the values of acme's live items, by key.
func (w *inheriting) held() map[ledger.Key]projector.Item {
	w.t.Helper()
	out := make(map[ledger.Key]projector.Item)
	if w.opened.Load() == nil {
		return out
	}
	if err := (*w.opened.Load()).Scan(w.t.Context(), "acme", func(i projector.Item) error {
		if i.Err == nil && i.Value != "" {
			out[i.Key] = i
		}
		return i.Err
	}); err != nil {
		w.t.Fatal(err)
	}
	return out
}

// holds waits until the store has exactly these values, and then checks that a sweep finds
// nothing.
func (w *inheriting) holds(want map[ledger.Key]ledger.Value) {
	w.t.Helper()
	var got map[ledger.Key]projector.Item
	until(w.t, func() bool {
		got = w.held()
		return maps.EqualFunc(got, want, func(i projector.Item, v ledger.Value) bool { return i.Value.Equal(v) })
	}, func() string { return fmt.Sprint(got) })
	w.settled("sink")
	if found := w.check(); len(found) > 0 {
		w.t.Errorf("a sweep finds %v", found)
	}
}

func (w *inheriting) check() []*stelev1.Drift {
	w.t.Helper()
	check := w.ask("sink", &sinkstatev1.Order{Order: &sinkstatev1.Order_Check{Check: &stelev1.CheckDriftRequest{}}}).Check
	if check.Compared == 0 || len(check.Uncompared) > 0 || check.Stopped != "" {
		w.t.Errorf("the sweep is %v", check)
	}
	return check.Drift
}

// replace is another program's change: it replaces the item of a key.
func (w *inheriting) replace(key ledger.Key, v ledger.Value) {
	w.t.Helper()
	view, err := w.node.Replica.View("acme", replica.At{})
	if err != nil {
		w.t.Fatal(err)
	}
	defer view.Close()
	e, _, err := view.Get(key)
	if err != nil {
		w.t.Fatal(err)
	}
	item := w.held()[key]
	write := projector.Write{Tenant: "acme", Key: key, Value: v, Revision: e.Revision, Author: "console", Message: "by hand", Replace: &item, Route: &routes.Route{}}
	if errs, err := (*w.opened.Load()).Write(w.t.Context(), []projector.Write{write}); err != nil || errs[0] != nil {
		w.t.Fatal(err, errs)
	}
}

// A store of any kind follows what a tenant inherits, overrides and no longer overrides. A
// pin that moves without changing a value is not drift.
func TestBases_EveryStoreFollows(t *testing.T) {
	for _, kind := range slices.Sorted(maps.Keys(storeKinds)) {
		t.Run(kind, func(t *testing.T) {
			w := newInheriting(t, kind, "repair")
			w.base(map[ledger.Key]string{"a/inherited": `"x"`, "a/overridden": "1", "a/changing": "1"})
			w.holds(map[ledger.Key]ledger.Value{"a/inherited": `"x"`, "a/overridden": "1", "a/changing": "1"})
			w.commit("acme", map[ledger.Key]string{"a/overridden": "2"})
			w.holds(map[ledger.Key]ledger.Value{"a/inherited": `"x"`, "a/overridden": "2", "a/changing": "1"})
			w.base(map[ledger.Key]string{"a/overridden": "3", "a/changing": "2"})
			w.holds(map[ledger.Key]ledger.Value{"a/inherited": `"x"`, "a/overridden": "2", "a/changing": "2"})
			w.commit("acme", map[ledger.Key]string{"a/overridden": ""}) // falls back
			w.holds(map[ledger.Key]ledger.Value{"a/inherited": `"x"`, "a/overridden": "3", "a/changing": "2"})

			w.replace("a/inherited", `"by hand"`)
			if found := w.check(); len(found) != 1 || found[0].Key != "a/inherited" || found[0].Kind != stelev1.Drift_KIND_EDITED {
				t.Errorf("of one edit it finds %v", found)
			}
			w.holds(map[ledger.Key]ledger.Value{"a/inherited": `"x"`, "a/overridden": "3", "a/changing": "2"})

			w.base(map[ledger.Key]string{"a/overridden": ""})
			w.holds(map[ledger.Key]ledger.Value{"a/inherited": `"x"`, "a/changing": "2"})
			w.commit("acme", map[ledger.Key]string{ledger.BasesKey: ""})
			until(t, func() bool { return len(w.held()) == 0 }, func() string { return fmt.Sprint(w.held()) })
		})
	}
}

// Adopting an edit of an inherited value overrides it, and "repair" restores it. Secrets
// Manager's items are secrets, which only secret routes adopt.
func TestBases_EditsAreAdoptedOrRepaired(t *testing.T) {
	for _, kind := range slices.Sorted(maps.Keys(storeKinds)) {
		t.Run(kind, func(t *testing.T) {
			w := newInheriting(t, kind, "report")
			w.base(map[ledger.Key]string{"a/x": `"x"`, "a/y": `"y"`})
			w.base(map[ledger.Key]string{"a/z": `"z"`})
			w.holds(map[ledger.Key]ledger.Value{"a/x": `"x"`, "a/y": `"y"`, "a/z": `"z"`})
			for _, tc := range []struct {
				do   stelev1.ResolveDriftRequest_Resolution
				want ledger.Value
				own  bool
			}{
				{stelev1.ResolveDriftRequest_RESOLUTION_REPAIR, `"x"`, false},
				{stelev1.ResolveDriftRequest_RESOLUTION_ADOPT, `"by hand"`, true},
			} {
				if tc.own && kind == "secretsmanager" {
					continue
				}
				w.replace("a/x", `"by hand"`)
				resp := w.ask("sink", &sinkstatev1.Order{Order: &sinkstatev1.Order_Resolve{Resolve: &stelev1.ResolveDriftRequest{Sink: "sink", Resolution: tc.do}}}).Resolve
				if resp.Resolved != 1 {
					t.Errorf("%s: %v", tc.do, resp)
				}
				w.holds(map[ledger.Key]ledger.Value{"a/x": tc.want, "a/y": `"y"`, "a/z": `"z"`})
				v, err := w.node.Replica.View("acme", replica.At{})
				if err != nil {
					t.Fatal(err)
				}
				e, _, err := v.Get("a/x")
				v.Close()
				if err != nil || e.Base.Inherited() == tc.own || !e.Value.Equal(tc.want) {
					t.Errorf("%s: the ledger has %v, %v", tc.do, e, err)
				}
			}
			w.commit("acme", map[ledger.Key]string{"a/x": ""})
			w.holds(map[ledger.Key]ledger.Value{"a/x": `"x"`, "a/y": `"y"`, "a/z": `"z"`})
		})
	}
}
