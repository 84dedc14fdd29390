package gateway_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway/identity"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestSearch_PagesAreOfOneRevision(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme", identity.Writer)
	for i := range 30 {
		f.commit(t, ctx, set(fmt.Sprintf("a/%02d", i), fmt.Sprint(i%2)))
	}
	f.commit(t, ctx, set("b", "1"))
	var got []string
	searched := 0
	req := &stelev1.SearchRequest{Prefix: "a/", Where: "value == 1", PageSize: 4}
	for page := 0; ; page++ {
		resp, err := f.config.Search(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range resp.Matches {
			got = append(got, m.Key)
		}
		if searched += int(resp.Searched); resp.Snapshot.Revision != 31 || len(resp.Matches) > 4 {
			t.Errorf("page %d is of revision %d and has %d matches", page, resp.Snapshot.Revision, len(resp.Matches))
		}
		// Every page sees a ledger that has moved on.
		f.commit(t, ctx, set(fmt.Sprintf("a/%02d.new", page), "1"))
		if req.PageToken = resp.NextPageToken; req.PageToken == "" {
			break
		}
	}
	if len(got) != 15 || got[14] != "a/29" || searched != 30 {
		t.Errorf("%d matches among %d keys: %v", len(got), searched, got)
	}
	past, err := f.config.Search(ctx, &stelev1.SearchRequest{Pattern: ".", At: &stelev1.At{Point: &stelev1.At_Revision{Revision: 2}}})
	if err != nil || len(past.Matches) != 2 {
		t.Errorf("at revision 2: %v, %v", past, err)
	}
}

// A call that looks at much ends before it has found anything, and names the place to
// continue from.
func TestSearch_CostIsBounded(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme", identity.Writer)
	long := `"` + strings.Repeat("a", 400_000) + `"`
	for i := range 4 {
		f.commit(t, ctx, set(fmt.Sprintf("a/%d", i), long))
	}
	req := &stelev1.SearchRequest{Pattern: "needle(abc){90}"}
	for page := range 4 {
		resp, err := f.config.Search(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		if last := page == 3; resp.Searched != 1 || len(resp.Matches) > 0 || (resp.NextPageToken == "") != last {
			t.Fatalf("page %d looks at %d values and continues at %q", page, resp.Searched, resp.NextPageToken)
		}
		req.PageToken = resp.NextPageToken
	}
}

func TestSearch_NeverLooksIntoSecrets(t *testing.T) {
	f := startSecret(t)
	ctx := f.as(t, "acme", identity.Admin)
	f.commit(t, ctx, set("s/password", `"hunter2"`, "open", `"hunter2"`))
	for _, c := range []struct {
		req     *stelev1.SearchRequest
		matches string
		skipped uint32
	}{
		{&stelev1.SearchRequest{Pattern: "hunter"}, "open=hunter2", 1},
		{&stelev1.SearchRequest{Pattern: "pass|open"}, "open=hunter2 s/password=\"***\"", 0},
		{&stelev1.SearchRequest{Pattern: "[*]"}, "", 1},
		{&stelev1.SearchRequest{Where: "size(value) > 0"}, "open=hunter2", 1},
	} {
		resp, err := f.config.Search(ctx, c.req)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range resp.Matches {
			got = append(got, m.Key+"="+m.Text)
		}
		if strings.Join(got, " ") != c.matches || resp.SecretsSkipped != c.skipped {
			t.Errorf("%v finds %v and skips %d secrets", c.req, got, resp.SecretsSkipped)
		}
	}
}

func TestSearch_Invalid(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme", identity.Reader)
	for _, req := range []*stelev1.SearchRequest{
		{}, {Pattern: "("}, {Pattern: "a", Prefix: "a>"}, {Pattern: "a", Path: "b"}, {Where: "value >"}, {Pattern: "a", PageToken: "xyz"},
		{Pattern: strings.Repeat("a", 1025)}, {Pattern: "a", PageSize: 1001}, {Pattern: "a", In: 7},
	} {
		if _, err := f.config.Search(ctx, req); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: %v", req, err)
		}
	}
}
