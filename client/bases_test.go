package client_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/client"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
)

// commit sets keys of a tenant in the ledger itself, where every tenant can be attached.
func commit(t *testing.T, n *ledgertest.Node, tenant ledger.Tenant, kv ...string) uint64 {
	t.Helper()
	cs := ledger.ChangeSet{Author: "ann"}
	for i := 0; i < len(kv); i += 2 {
		cs.Changes = append(cs.Changes, ledger.Change{Key: ledger.Key(kv[i]), Value: ledger.Value(kv[i+1])})
	}
	got, err := n.Ledger.Commit(t.Context(), tenant, cs)
	if err != nil {
		t.Fatal(err)
	}
	return uint64(got.Revision)
}

func attach(t *testing.T, n *ledgertest.Node, list ...ledger.Base) uint64 {
	t.Helper()
	return commit(t, n, "acme", string(ledger.BasesKey), string(ledger.BasesValue(list)))
}

func TestEntry_NamesTheBaseOfAnInheritedValue(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	signer := newSigner(t)
	address, stop := serve(t, n, signer)
	commit(t, n, "defaults", "a/n", "1", "a/own", "1")
	commit(t, n, "acme", "a/own", "2")
	cfg := client.Config{Addresses: []string{address}, Tenant: "acme", Token: minted(signer, "acme", time.Hour, identity.Reader)}
	saving := cfg
	saving.File = filepath.Join(t.TempDir(), "settings")
	c := open(t, saving)
	value := client.Bind(c, "a/n", 0)
	check := func(c *client.Client, v *client.Value[int], want int, base client.Base) {
		t.Helper()
		if e, ok := v.Entry(); !ok || v.Get() != want || e.Base != base {
			t.Errorf("a/n is %d of %+v, %t; want %d of %+v", v.Get(), e, ok, want, base)
		}
		if e, ok := c.Get("a/own"); !ok || e.Base != (client.Base{}) {
			t.Errorf("the tenant's own value is %+v, %t", e, ok)
		}
	}
	attach(t, n, ledger.Base{Tenant: "defaults", Revision: 1})
	eventually(t, "the inherited value", func() bool { return value.Get() == 1 })
	check(c, value, 1, client.Base{Tenant: "defaults", Revision: 1})
	commit(t, n, "defaults", "a/n", "3")
	attach(t, n, ledger.Base{Tenant: "defaults", Revision: 2})
	eventually(t, "the value at the moved pin", func() bool { return value.Get() == 3 })
	check(c, value, 3, client.Base{Tenant: "defaults", Revision: 2})
	again := open(t, cfg) // from the initial state
	check(again, client.Bind(again, "a/n", 0), 3, client.Base{Tenant: "defaults", Revision: 2})

	c.Close() // which saves
	stop()
	saved := open(t, saving)
	check(saved, client.Bind(saved, "a/n", 0), 3, client.Base{Tenant: "defaults", Revision: 2})
}

// A commit that changes more inherited values than a message holds is applied atomically.
func TestWatch_LargeInheritedCommitIsAtomic(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	signer := newSigner(t)
	address, _ := serve(t, n, signer)
	large, err := json.Marshal(strings.Repeat("x", 480<<10))
	if err != nil {
		t.Fatal(err)
	}
	const keys = 7
	var list []ledger.Base
	for _, base := range []string{"a", "b", "c"} {
		var kv []string
		for i := range keys {
			kv = append(kv, "a/"+base+string(rune('0'+i)), string(large))
		}
		commit(t, n, ledger.Tenant(base), kv...)
		list = append(list, ledger.Base{Tenant: ledger.Tenant(base), Revision: 1})
	}
	commit(t, n, "acme", "a/own", "1")
	c := open(t, client.Config{Addresses: []string{address}, Tenant: "acme", Token: minted(signer, "acme", time.Hour, identity.Reader)})
	updates := make(chan client.Update, 10)
	c.OnChange("a/", func(u client.Update) { updates <- u })
	attached := attach(t, n, list...)
	if u := <-updates; len(u.Keys) != len(list)*keys || len(u.After.List("a/")) != len(list)*keys+1 || u.After.Revision() != attached {
		t.Errorf("%d keys changed, and %d are set at @%d; want %d at @%d", len(u.Keys), len(u.After.List("a/")), u.After.Revision(), len(list)*keys, attached)
	}
}
