package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway/identity"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// A panic in any goroutine of a page fails that page, and the console serves on.
func TestPages_PanicFailsOnePage(t *testing.T) {
	f := start(t)
	setup(t, f)
	v := f.writer(t, "acme")
	operator := f.login(t, identity.Claims{Roles: []identity.Role{identity.Operator}})
	failed := func(get func() *answer) func(*testing.T) {
		return func(t *testing.T) {
			if a := get(); a.code != http.StatusInternalServerError || !strings.Contains(a.text(), "The console failed") || strings.Contains(a.text(), "called") {
				t.Errorf("%d %s", a.code, brief(a.text()))
			}
		}
	}
	for method, page := range map[string]func(*testing.T){
		stelev1.Ledger_GetStatus_FullMethodName: failed(func() *answer { return v.get(t, "/acme/keys/") }),
		stelev1.Ledger_GetHead_FullMethodName:   failed(func() *answer { return v.get(t, "/acme/keys/") }),
		stelev1.Config_List_FullMethodName:      failed(func() *answer { return v.get(t, "/acme/keys/") }),
		stelev1.Config_Search_FullMethodName:    failed(func() *answer { return operator.get(t, "/search?q=card") }),
		stelev1.Schemas_ExplainKey_FullMethodName: failed(func() *answer {
			return v.post(t, "/acme/check/tenantconfig/checkout/card", url.Values{"value": {"1"}})
		}),
		stelev1.Sinks_ListSinks_FullMethodName: func(t *testing.T) { // the page is correct without them
			if a := v.get(t, "/acme/keys/tenantconfig/checkout/card"); a.code != http.StatusOK || !strings.Contains(a.main(), "true") {
				t.Errorf("%d %s", a.code, brief(a.text()))
			}
		},
		stelev1.Config_Watch_FullMethodName: func(t *testing.T) {
			s := v.live(t, t.Context(), "?after=acme@3")
			f.set(t, f.as(t, "acme"), "four", "x/y", "1")
			for s.Scan() {
				if s.Text() != "" {
					t.Errorf("an update: %s", s.Text())
				}
			}
		},
	} {
		t.Run(method, func(t *testing.T) {
			f.calls.panicAt(method)
			page(t)
			f.calls.panicAt("")
			if a := v.get(t, "/acme/keys/"); a.code != http.StatusOK {
				t.Errorf("the next page: %d %s", a.code, brief(a.text()))
			}
		})
	}
}
