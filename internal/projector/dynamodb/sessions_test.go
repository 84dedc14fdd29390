package dynamodb_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/dynamodb"
	"github.com/stelehq/stele/internal/projector/dynamotest"
	"github.com/stelehq/stele/internal/projector/fakeaws"
)

// With tenant_sessions, every request about a tenant's items is signed with the tenant's session
// and concerns no other tenant, so that a policy with dynamodb:LeadingKeys can allow it.
func TestTenantSessions(t *testing.T) {
	server, err := fakeaws.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	p := between(t, dynamotest.Start(t))
	t.Setenv("AWS_ENDPOINT_URL_STS", server.URL)
	t.Setenv("AWS_ENDPOINT_URL_DYNAMODB", p.endpoint)
	var mu sync.Mutex
	keys := make(map[string]map[string]bool) // access keys, by the tenants that a request names
	p.set(func(r request) fault {
		var named []string
		for _, tenant := range []string{"acme", "globex"} {
			if strings.Contains(r.body, tenant) {
				named = append(named, tenant)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		of := strings.Join(named, "+")
		if keys[of] == nil {
			keys[of] = make(map[string]bool)
		}
		keys[of][r.key] = true
		return fault{}
	})
	opened, err := dynamodb.Open(t.Context(), projector.Settings{Name: "d", Local: true, Epoch: epoch,
		JSON: []byte(`{"create": true, "role_arn": "arn:aws:iam::210987654321:role/stele", "tenant_sessions": true}`)})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	store := opened.(projector.Store)
	var writes []projector.Write
	for _, tenant := range []ledger.Tenant{"acme", "globex"} {
		writes = append(writes, projector.Write{Tenant: tenant, Key: "a", Value: "1", Revision: 1, Route: &routes.Route{}})
	}
	if errs, err := store.Write(t.Context(), writes); err != nil || errs[0] != nil || errs[1] != nil {
		t.Fatal(err, errs)
	}
	for _, w := range writes {
		name, err := store.Name(w.Tenant, w.Key)
		if err != nil {
			t.Fatal(err)
		}
		item, ok, err := store.Read(t.Context(), name)
		if err != nil || !ok {
			t.Fatal(err, ok)
		}
		if err := store.Scan(t.Context(), w.Tenant, func(projector.Item) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if err := store.Remove(t.Context(), item); err != nil {
			t.Fatal(err)
		}
	}
	if len(keys) != 3 || len(keys[""]) != 1 || len(keys["acme"]) != 1 || len(keys["globex"]) != 1 {
		t.Errorf("requests are signed with the keys %v", keys)
	}
	if all := fmt.Sprint(keys[""], keys["acme"], keys["globex"]); strings.Contains(all, "test") || fmt.Sprint(keys["acme"]) == fmt.Sprint(keys["globex"]) {
		t.Errorf("tenants do not have sessions of their own: %s", all)
	}
}
