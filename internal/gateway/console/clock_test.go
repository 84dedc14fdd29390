package console_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/metadata"
)

// Pages show commits that are ahead and the commit that resets the clock, and the time axis ends
// at the newest commit.
func TestPages_ResetClock(t *testing.T) {
	f := start(t)
	acme := f.as(t, "acme")
	f.set(t, acme, "before", "app/a", "1")
	ledgertest.CommitAt(t, f.node, "acme", time.Date(time.Now().Year()+2, 1, 2, 3, 4, 5, 0, time.UTC))
	operator := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+f.token(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Operator}}))
	if _, err := f.ledger.ResetTenantClock(operator, &stelev1.ResetTenantClockRequest{Reason: "host-3 was ahead"}); err != nil {
		t.Fatal(err)
	}
	f.set(t, acme, "after", "app/a", "2")
	b := f.login(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Admin}})
	for path, wants := range map[string][]string{
		"/acme/history":   {"host-3 was ahead", "clock reset", `title="Written while a clock was ahead`, "after"},
		"/acme/commits/3": {"host-3 was ahead", "clock reset"},
		"/acme/commits/2": {"ahead: counts as made at"},
		"/acme/keys/":     {"2 keys, newest @4"},
	} {
		got := b.get(t, path)
		code, page := got.code, got.body
		if code != http.StatusOK {
			t.Errorf("%s answers %d", path, code)
		}
		for _, want := range wants {
			if !strings.Contains(page, want) {
				t.Errorf("%s lacks %q", path, want)
			}
		}
		if path == "/acme/history" && strings.Contains(page, `colspan="5">`+time.Now().UTC().AddDate(2, 0, 0).Format("2006-")) {
			t.Errorf("%s has headings of the time that is ahead", path)
		}
	}
}
