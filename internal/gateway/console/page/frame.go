package page

import (
	"net/url"
	"strings"
	"time"

	"github.com/a-h/templ"
	"github.com/stelehq/stele/internal/gateway/console/format"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// section is a page that the navigation links to.
type section struct {
	page, title string
	timeless    bool // it has no past states
	prefixed    bool // it can show the keys under a prefix only
	operators   bool // it is for users who can act for several tenants
}

var sections = []section{
	{page: "keys", title: "Keys"},
	{page: "history", title: "History", prefixed: true},
	{page: "compare", title: "Compare", timeless: true, prefixed: true},
	{page: "rollback", title: "Roll back", prefixed: true},
	{page: "promote", title: "Promote", timeless: true, prefixed: true, operators: true},
	{page: "projections", title: "Projections", timeless: true},
	{page: "schemas", title: "Schemas"},
	{page: "access", title: "Access", timeless: true},
}

// section is the path of a section: in the same state if it has past states, and of the
// same keys if it can show a part of them.
func (v *View) section(s section) templ.SafeURL {
	a := v.Address
	if s.timeless {
		a.At = 0
	}
	path := a.To(s.page, "")
	if prefix := v.prefix(); s.prefixed && prefix != "" {
		path += "?prefix=" + url.QueryEscape(prefix)
	}
	return templ.SafeURL(path)
}

// prefix is the prefix of the keys that the page is about; empty for all.
func (v *View) prefix() string {
	switch v.Page {
	case "keys", "reveal", "new", "delete":
		return v.Rest // a key is also the prefix of itself and the keys below it
	case "history", "compare", "rollback", "promote", "search":
		return v.Query("prefix")
	}
	return ""
}

// sliderPage is the part of the view's own URL after the tenant and the revision: the
// time slider stays on it.
func (v *View) sliderPage() string {
	switch {
	case v.Page == "commits": // the slider steps from commit to commit
		return "commits"
	case v.Timeless:
		return "keys/"
	}
	a := Address{Tenant: v.Tenant, Page: v.Page, Rest: v.Rest}
	path := strings.TrimPrefix(a.String(), a.Root())
	if v.R.URL.RawQuery != "" {
		path += "?" + v.R.URL.RawQuery
	}
	return path
}

// keep are the parameters that make another tenant's pages keep this one: the page, and the
// time of a past state.
func (v *View) keep() string {
	q := url.Values{}
	if below := v.sliderPage(); v.Tenant != "" && below != "commits" {
		q.Set("keep", below)
	}
	if v.shown != nil {
		q.Set("time", v.shown.AsTime().Format(time.RFC3339Nano))
	}
	return q.Encode()
}

// switchPath is where operators choose another tenant.
func (v *View) switchPath() string { return "/?" + v.keep() }

// jumpPath is the list of the command palette.
func (v *View) jumpPath() string {
	if v.Tenant == "" {
		return "/-/jump"
	}
	return v.To("jump", "") + "?" + v.keep()
}

// searchPath is the page that searches what the page shows.
func (v *View) searchPath() string {
	path := "/search"
	if v.Tenant != "" {
		path = v.To("search", "")
		if prefix := v.prefix(); prefix != "" {
			path += "?prefix=" + url.QueryEscape(prefix)
		}
	}
	return path
}

// newestPath is the page at the newest state.
func (v *View) newestPath() string {
	if v.Page == "commits" {
		return v.To("commits", format.Number(v.Head.GetSnapshot().GetHead()))
	}
	return Address{Tenant: v.Tenant}.Root() + v.sliderPage()
}

// sliderRevision is the position of the time slider.
func (v *View) sliderRevision() uint64 {
	head := v.Head.GetSnapshot().GetHead()
	if r := v.sliderCommit(); r != 0 {
		return min(uint64(r), head)
	}
	return head
}

func pageTitle(v *View, title string) string {
	if v.Tenant == "" {
		return title
	}
	return title + " · " + v.State()
}

// late is how old a gateway's data may be before the pages warn of it: it hears from
// the journal every second or two.
const late = 10 * time.Second

// lateBy is how long the gateway has not heard from the journal, if that deserves a
// warning.
func lateBy(head *stelev1.GetHeadResponse) string {
	s := head.GetSnapshot()
	age := s.GetAge().AsDuration()
	if !s.GetStale() && age < late {
		return ""
	}
	return format.Duration(age)
}
