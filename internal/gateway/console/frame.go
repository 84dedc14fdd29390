package console

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// section is a page that the frame leads to.
type section struct {
	page, title string
	newest      bool // it has no past
}

var sections = []section{
	{page: "keys", title: "Keys"},
	{page: "history", title: "History"},
	{page: "compare", title: "Compare", newest: true},
	{page: "rollback", title: "Roll back"},
	{page: "projections", title: "Projections", newest: true},
	{page: "schemas", title: "Schemas"},
	{page: "access", title: "Access", newest: true},
}

// section is the path of a section, at the same moment where it has one.
func (p place) section(s section) templ.SafeURL {
	if s.newest {
		p.at = 0
	}
	return templ.SafeURL(p.to(s.page, ""))
}

// moments is the target of the time slider's form, and ticks are the marks under it.
func (p place) moments() templ.SafeURL { return templ.SafeURL("/" + string(p.tenant) + "/at") }
func (p place) ticks() string          { return "/" + string(p.tenant) + "/ticks" }

// pagePath is the part of the visit's own URL after the tenant and the revision: the
// time slider stays on it.
func (v *visit) pagePath() string {
	p := place{tenant: v.tenant, page: v.page, rest: v.rest}
	switch {
	case v.page == "commits": // the slider leads from commit to commit
		return "commits"
	case v.pastless:
		return "keys/"
	}
	path := strings.TrimPrefix(p.String(), p.root())
	if v.r.URL.RawQuery != "" {
		path += "?" + v.r.URL.RawQuery
	}
	return path
}

// newestPath is the page at the newest state.
func (v *visit) newestPath() string {
	if v.page == "commits" {
		return v.to("commits", revisionOf(v.head.GetSnapshot().GetHead()))
	}
	return place{tenant: v.tenant}.root() + v.pagePath()
}

// shownRevision is where the time slider stands.
func (v *visit) shownRevision() uint64 {
	head := v.head.GetSnapshot().GetHead()
	if v.page == "commits" {
		number, _, _ := strings.Cut(v.rest, "/")
		if n, err := strconv.ParseUint(number, 10, 64); err == nil {
			return min(n, head)
		}
	}
	if v.at != 0 {
		return min(uint64(v.at), head)
	}
	return head
}

func pageTitle(v *visit, title string) string {
	if v.tenant == "" {
		return title
	}
	return title + " · " + v.place.state()
}

func revisionText(r ledger.Revision) string { return fmt.Sprint(uint64(r)) }

// late is how old a gateway's knowledge may be before the pages warn of it: it hears
// from the journal every second or two.
const late = 10 * time.Second

// lateBy is how long the gateway has not heard from the journal, if that deserves a
// warning.
func lateBy(head *stelev1.GetHeadResponse) string {
	s := head.GetSnapshot()
	age := s.GetAge().AsDuration()
	if !s.GetStale() && age < late {
		return ""
	}
	return lasting(age)
}

func rolesOf(p *stelev1.Principal) string {
	roles := slices.Clone(p.Roles)
	slices.Sort(roles)
	return strings.Join(roles, ", ")
}

// lasting is a duration for users: its one largest unit.
func lasting(d time.Duration) string {
	day := 24 * time.Hour
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{365 * day, "year"}, {30 * day, "month"}, {day, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if n := d / u.unit; n == 1 {
			return "1 " + u.name
		} else if n > 1 {
			return fmt.Sprintf("%d %ss", n, u.name)
		}
	}
	return fmt.Sprintf("%d s", max(d, 0)/time.Second)
}

func ago(d time.Duration) string {
	if d < 2*time.Second {
		return "just now"
	}
	return lasting(d) + " ago"
}

// exactly is a time as pages write it: in UTC, to the second.
func exactly(t *timestamppb.Timestamp) string {
	return t.AsTime().UTC().Format("2006-01-02 15:04:05 UTC")
}
