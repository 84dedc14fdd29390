package page

import (
	"strconv"
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
}

var sections = []section{
	{page: "keys", title: "Keys"},
	{page: "history", title: "History"},
	{page: "compare", title: "Compare", timeless: true},
	{page: "rollback", title: "Roll back"},
	{page: "projections", title: "Projections", timeless: true},
	{page: "schemas", title: "Schemas"},
	{page: "access", title: "Access", timeless: true},
}

// section is the path of a section, in the same state if it has past states.
func (a Address) section(s section) templ.SafeURL {
	if s.timeless {
		a.At = 0
	}
	return templ.SafeURL(a.To(s.page, ""))
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
	if v.Page == "commits" {
		number, _, _ := strings.Cut(v.Rest, "/")
		if n, err := strconv.ParseUint(number, 10, 64); err == nil {
			return min(n, head)
		}
	}
	if v.At != 0 {
		return min(uint64(v.At), head)
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
