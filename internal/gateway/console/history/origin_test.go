package history

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway/console/page"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// originText is the text of an origin on a page.
func originText(t *testing.T, o *stelev1.Origin) string {
	t.Helper()
	v := &page.View{Address: page.Address{Tenant: "acme", Page: "history"}, Request: page.Request{R: httptest.NewRequest(http.MethodGet, "/acme/history", nil)}}
	var b strings.Builder
	if err := origin(v, o).Render(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(b.String(), "")), " ")
	return strings.ReplaceAll(text, " ,", ",")
}

// Every kind in the schema has a text.
func TestOrigin_AllKinds(t *testing.T) {
	kinds := (*stelev1.Origin)(nil).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range kinds.Len() {
		o := &stelev1.Origin{}
		o.ProtoReflect().Mutable(kinds.Get(i))
		if originText(t, o) == "" {
			t.Errorf("the kind %s has no text", kinds.Get(i).Name())
		}
	}
}

func TestOrigin(t *testing.T) {
	for want, o := range map[string]*stelev1.Origin{
		"imported":                           {Kind: &stelev1.Origin_Import{Import: &stelev1.ImportOrigin{}}},
		"rollback to @3":                     {Kind: &stelev1.Origin_Rollback{Rollback: &stelev1.RollbackOrigin{Revision: 3}}},
		"rollback to @3, keys under a/":      {Kind: &stelev1.Origin_Rollback{Rollback: &stelev1.RollbackOrigin{Revision: 3, Prefix: "a/"}}},
		"revert of @3, @4":                   {Kind: &stelev1.Origin_Revert{Revert: &stelev1.RevertOrigin{Revisions: []uint64{3, 4}}}},
		`adopted it\u202e of the sink files`: {Kind: &stelev1.Origin_Drift{Drift: &stelev1.DriftOrigin{Sink: "files", Name: "it\u202e"}}},
		"base defaults moved from @1 to @2, committed by ann":   {Kind: &stelev1.Origin_Base{Base: &stelev1.BaseOrigin{Tenant: "defaults", FromRevision: 1, Revision: 2, Author: "ann"}}},
		"promoted from staging@7":                               {Kind: &stelev1.Origin_Promotion{Promotion: &stelev1.PromotionOrigin{Tenant: "staging", Revision: 7}}},
		"promoted from staging@7, keys under a/":                {Kind: &stelev1.Origin_Promotion{Promotion: &stelev1.PromotionOrigin{Tenant: "staging", Revision: 7, Prefix: "a/"}}},
		"copied from a/ to b/":                                  {Kind: &stelev1.Origin_Copy{Copy: &stelev1.CopyOrigin{From: "a/", To: "b/"}}},
		"renamed from a/ to b/":                                 {Kind: &stelev1.Origin_Copy{Copy: &stelev1.CopyOrigin{From: "a/", To: "b/", Renamed: true}}},
		"clock reset: ends times up to 1970-01-01 00:00:05 UTC": {Kind: &stelev1.Origin_Clock{Clock: &stelev1.ClockOrigin{Ahead: &timestamppb.Timestamp{Seconds: 5}}}},
	} {
		if got := originText(t, o); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
