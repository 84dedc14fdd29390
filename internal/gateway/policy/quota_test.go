package policy

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelehq/stele/internal/ledger"
)

// A tenant's watches count for as long as they are open, also if it makes no other call.
func TestQuotas_OpenWatchesAreNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		qs := &quotas{maxUnsent: maxUnsent, tenants: make(map[ledger.Tenant]*Quota)}
		acme := qs.of("acme", limits{watches: 2})
		if err := acme.Watch("ann"); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			time.Sleep(quotaIdle + time.Second)
			qs.of("globex", limits{}) // a new tenant has others swept
			delete(qs.tenants, "globex")
		}
		if qs.of("acme", limits{watches: 2}) != acme {
			t.Error("the open watches of the tenant were forgotten")
		}
		acme.Unwatch("ann")
		time.Sleep(quotaIdle + 2*time.Second)
		qs.of("globex", limits{})
		if qs.tenants["acme"] != nil {
			t.Error("a tenant without open watches was kept")
		}
	})
}
