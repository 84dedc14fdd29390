package history

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway/console/page"
)

// A call searches 20,000 commits: a page without matches is not the end of the history
// while there is a next one.
func TestHistoryPage_WithoutMatches(t *testing.T) {
	v := &page.View{Address: page.Address{Tenant: "acme", Page: "history"}, Request: page.Request{R: httptest.NewRequest(http.MethodGet, "/acme/history", nil)}}
	for next, want := range map[string]string{
		"":                           "No commit matches.",
		"/acme/history?page=a-token": "Search earlier commits",
	} {
		var b strings.Builder
		if err := historyPage(v, &list{next: next}).Render(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), want) || next != "" && (strings.Contains(b.String(), "No commit matches.") || !strings.Contains(b.String(), next)) {
			t.Errorf("with the next page %q: %s", next, b.String())
		}
	}
}
