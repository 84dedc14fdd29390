package console_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway/identity"
)

// The fleet shows the gateways and the changes of all tenants, to operators only. Its own
// refresh does not read the changes, because that may be recorded.
func TestFleet(t *testing.T) {
	f := start(t)
	f.set(t, f.as(t, "acme"), "the reason", "a/b", "1")
	f.set(t, f.as(t, "globex"), "another", "a/b", "1", "a/c", "2")
	v := f.login(t, identity.Claims{Roles: []identity.Role{identity.Operator}})
	main := v.get(t, "/fleet").main()
	for _, part := range []string{"ledger, gateway", "the journal", "running", "acme@1", "the reason", "globex@1", "2 keys"} {
		if !strings.Contains(main, part) {
			t.Errorf("the fleet lacks %q: %s", part, main)
		}
	}
	calls := f.calls.since()
	v.get(t, "/fleet?refresh=1")
	for _, call := range calls() {
		if strings.HasSuffix(call, "ListAllCommits") {
			t.Error("the refresh reads the changes")
		}
	}
	if a := f.writer(t, "acme").get(t, "/fleet"); a.code != http.StatusForbidden || strings.Contains(a.main(), "globex") {
		t.Errorf("for a user of one tenant: %d %s", a.code, a.main())
	}
}
