// Package keys has the pages of keys: the levels of their tree, one key, and the forms that
// create, change and delete one.
package keys

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	// keysOnPage is how many keys a page has a row for.
	keysOnPage = 100
	// keysCounted is how many keys under a prefix are counted, and keysInAnswer how many
	// a call returns.
	keysCounted  = 50_000
	keysInAnswer = 10_000
)

// ShowFirst is the first page of a tenant: its keys.
func ShowFirst(v *page.View) error {
	v.Page = "keys"
	return Show(v)
}

// Show shows a level of the tree of keys, or the page of a key: the tree's levels end
// with a slash.
func Show(v *page.View) error {
	if v.Rest != "" && !strings.HasSuffix(v.Rest, "/") {
		return showKey(v)
	}
	if _, err := ledger.ParseKey(strings.TrimSuffix(v.Rest, "/")); err != nil && v.Rest != "" {
		return page.ErrNotFound // no key can begin so
	}
	l := &level{prefix: v.Rest, filter: v.Query("filter"), from: v.QueryInt("from"), start: v.Query("start")}
	read := func(ctx context.Context) error { return readLevel(ctx, v, l) }
	if v.R.FormValue("part") == "level" { // a branch that opens
		if err := read(v.Ctx); err != nil {
			return err
		}
		return v.Render(http.StatusOK, levelRows(v, l))
	}
	var denied error
	err := v.Load(func(ctx context.Context) error {
		err := read(ctx)
		if status.Code(err) == codes.PermissionDenied {
			denied, err = err, nil
		}
		return err
	})
	if err == nil && denied != nil {
		err = allowedBranches(v, l, denied)
	}
	if err != nil {
		return err
	}
	if l.total == 0 && v.Head.GetSnapshot().GetHead() == 0 && v.Operator() {
		return v.Show(http.StatusNotFound, "No such tenant", nil, noTenantPage(v))
	}
	title := "Keys"
	if l.prefix != "" {
		title = l.prefix
	}
	return v.Show(http.StatusOK, title, v.ReadCommand("list", l.prefix), keysPage(v, l))
}

// allowedBranches fills a level with the prefixes below it that the user may read, if
// that is not all of it. It returns the error if there are none.
func allowedBranches(v *page.View, l *level, denied error) error {
	for _, p := range v.Allowed("read") {
		if ledger.Pattern(l.prefix).Covers(ledger.Pattern(p)) {
			l.branches = append(l.branches, branch{prefix: p})
		}
	}
	if len(l.branches) == 0 {
		return denied
	}
	return nil
}

// level is the content of a prefix: branches, which are longer prefixes, and keys. With
// a filter it is all keys under the prefix that contain it.
type level struct {
	prefix, filter string
	from           int // the first row, of all that there are
	// start and next are the page tokens of the first key that was looked at, and of the
	// first that was not; empty for the first key, and if all were looked at.
	start, next string

	revision uint64 // the state that it is of
	branches []branch
	rows     []row
	keys     int // rows that there are
	total    int // keys under the prefix that were looked at
}

type branch struct {
	prefix string
	keys   int
	newest uint64 // the revision that last set one of them
}

// row is a key of the level. Its author and time are empty if unknown.
type row struct {
	key, value string
	secret     bool
	base       *stelev1.BaseRef // nil for the tenant's own value
	revision   uint64
	author     string
	message    string
	time       *timestamppb.Timestamp
}

// name is the part of a key or prefix that the level does not say already.
func (l *level) name(key string) string {
	if l.filter != "" {
		return key
	}
	return strings.TrimPrefix(key, l.prefix)
}

// page is the address of the level's rows from another one on.
func (l *level) page(v *page.View, from int) string { return l.address(v, l.start, from) }

// rest is the address of the keys that were not looked at.
func (l *level) rest(v *page.View) string { return l.address(v, l.next, 0) }

func (l *level) address(v *page.View, start string, from int) string {
	q := url.Values{}
	if start != "" {
		q.Set("start", start)
	}
	if l.filter != "" {
		q.Set("filter", l.filter)
	}
	if from > 0 {
		q.Set("from", strconv.Itoa(from))
	}
	path := v.To("keys", l.prefix)
	if start != "" { // a page token is of one state
		path = page.StateAt(v.Tenant, l.revision).To("keys", l.prefix)
	}
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	return path
}

// looked says which keys the total counts.
func (l *level) looked() string {
	if l.start != "" || l.next != "" {
		return "that this page looks at"
	}
	return "here"
}

// crumb is a level above a key or a prefix.
type crumb struct{ name, prefix string }

func crumbs(key string) []crumb {
	var out []crumb
	for i, r := range key {
		if r == '/' {
			begin := 0
			if len(out) > 0 {
				begin = len(out[len(out)-1].prefix)
			}
			out = append(out, crumb{key[begin : i+1], key[:i+1]})
		}
	}
	return out
}

// lastPart is the part after a key's last slash.
func lastPart(key string) string { return key[strings.LastIndex(key, "/")+1:] }
