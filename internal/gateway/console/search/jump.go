package search

import (
	"context"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/stelehq/stele/internal/gateway/console/format"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/gateway/console/tenants"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Most of each kind that the palette lists.
const (
	keysListed    = 12
	commitsListed = 5
	tenantsListed = 8
)

// target is a page that the palette leads to.
type target struct{ kind, name, note, path string }

// Jump lists the pages that the command palette leads to for a text: tenants, keys and
// commits. Lists that fail are left out.
func Jump(v *page.View) error {
	text := v.Query("q")
	lists := make([][]target, 4)
	page.Together(v.Ctx, func(ctx context.Context) error {
		lists[0] = commitsNumbered(ctx, v, text)
		return nil
	}, func(ctx context.Context) error {
		lists[1] = keysNamed(ctx, v, text)
		return nil
	}, func(ctx context.Context) error {
		lists[2] = tenantsNamed(ctx, v, text)
		return nil
	}, func(ctx context.Context) error {
		lists[3] = commitsBecause(ctx, v, text)
		return nil
	})
	var all []target
	for _, list := range lists {
		all = append(all, list...)
	}
	if text != "" {
		path := "/search"
		if v.Tenant != "" {
			path = v.To("search", "")
		}
		all = append(all, target{"search", "names, values and reasons with “" + format.Visible(text) + "”", "", path + "?" + query{text: text}.values().Encode()})
	}
	return v.Render(http.StatusOK, targets(all))
}

// commitsNumbered is the commit that the text is the revision of.
func commitsNumbered(ctx context.Context, v *page.View, text string) []target {
	revision, err := strconv.ParseUint(strings.TrimPrefix(text, "@"), 10, 64)
	if err != nil || revision == 0 || v.Tenant == "" {
		return nil
	}
	info, err := v.CommitAt(ctx, page.Revision(revision))
	if err != nil {
		return nil
	}
	return []target{commitTarget(v, info.Commit), {"state", page.StateAt(v.Tenant, revision).State(), "", page.StateAt(v.Tenant, revision).To("keys", "")}}
}

func commitTarget(v *page.View, c *stelev1.Commit) target {
	return target{"commit", format.Revision(c.Revision), format.Visible(c.Author) + ": " + format.FirstLine(c.Message), page.CommitPath(v.Tenant, c.Revision)}
}

func keysNamed(ctx context.Context, v *page.View, text string) (out []target) {
	if text == "" || v.Tenant == "" {
		return nil
	}
	got, err := v.Config.Search(ctx, &stelev1.SearchRequest{Pattern: regexp.QuoteMeta(text), IgnoreCase: true, In: stelev1.SearchRequest_IN_KEYS, At: v.AsOf(), PageSize: keysListed})
	if err != nil {
		return nil
	}
	for _, m := range got.Matches {
		out = append(out, target{"key", m.Key, "", v.To("keys", m.Key)})
	}
	return out
}

func tenantsNamed(ctx context.Context, v *page.View, text string) (out []target) {
	found, err := tenants.Find(ctx, v, text, tenantsListed)
	if err != nil {
		return nil // for operators only
	}
	for _, t := range found {
		out = append(out, target{"tenant", t.Tenant, format.Revision(t.Head), tenants.Path(v, t.Tenant)})
	}
	return out
}

// commitsBecause are the newest commits whose reason contains the text.
func commitsBecause(ctx context.Context, v *page.View, text string) (out []target) {
	if len(text) < 3 || len(text) > longestReason || v.Tenant == "" {
		return nil
	}
	list, err := v.Ledger.ListCommits(ctx, &stelev1.ListCommitsRequest{Grep: text, Until: v.AsOf(), PageSize: commitsListed, OmitValues: true})
	if err != nil {
		return nil
	}
	for _, info := range list.Commits {
		out = append(out, commitTarget(v, info.Commit))
	}
	return out
}
