package console

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	// keysOnPage is how many keys a page has a row for.
	keysOnPage = 100
	// keysCounted is how many keys under a prefix are looked at, and keysInAnswer how
	// many of them come at a time.
	keysCounted  = 50_000
	keysInAnswer = 10_000
)

// showKeys shows a level of the tree of keys, or the page of a key: the tree's
// levels end with a slash.
func (c *Console) showKeys(v *visit) error {
	if v.rest != "" && !strings.HasSuffix(v.rest, "/") {
		return c.showKey(v)
	}
	if _, err := ledger.ParseKey(strings.TrimSuffix(v.rest, "/")); err != nil && v.rest != "" {
		return errNoPlace // no key can begin so
	}
	l := &level{prefix: v.rest, filter: strings.TrimSpace(v.r.FormValue("filter")), from: number(v.r.FormValue("from"))}
	read := func(ctx context.Context) error { return c.readLevel(ctx, v.moment(), l) }
	if v.r.FormValue("part") == "level" { // a branch that opens
		if err := read(v.ctx); err != nil {
			return err
		}
		return v.render(http.StatusOK, levelRows(v, l))
	}
	var denied error
	err := v.load(func(ctx context.Context) error {
		err := read(ctx)
		if status.Code(err) == codes.PermissionDenied {
			denied, err = err, nil
		}
		return err
	})
	if err == nil && denied != nil {
		err = v.allowedBranches(l, denied)
	}
	if err != nil {
		return err
	}
	title := "Keys"
	if l.prefix != "" {
		title = l.prefix
	}
	return v.show(http.StatusOK, title, v.command("list", l.prefix), keysPage(v, l))
}

// allowedBranches makes a level of the part that the user may see under its prefix, if
// that is not all of it; the error means that it is nothing.
func (v *visit) allowedBranches(l *level, denied error) error {
	for _, a := range v.principal.GetAllowed() {
		for _, p := range a.Prefixes {
			if a.Operation == "read" && ledger.Pattern(l.prefix).Covers(ledger.Pattern(p)) {
				l.branches = append(l.branches, branch{prefix: p})
			}
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

	revision uint64 // the state that it is of
	branches []branch
	rows     []row
	keys     int // rows that there are
	total    int // keys under the prefix
	more     bool
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

// readLevel reads a level: its keys, and for those on the page their values and
// authors.
func (c *Console) readLevel(ctx context.Context, at *stelev1.At, l *level) error {
	req := &stelev1.ListRequest{Prefix: l.prefix, At: at, KeysOnly: true, PageSize: keysInAnswer}
	for {
		list, err := c.config.List(ctx, req)
		if err != nil {
			return err
		}
		l.revision = list.Snapshot.Revision
		l.add(list.Entries)
		if l.more = list.NextPageToken != ""; !l.more || l.total >= keysCounted {
			break
		}
		req.PageToken = list.NextPageToken
	}
	l.from = min(max(l.from, 0), max(l.keys-1, 0)) / keysOnPage * keysOnPage
	l.rows = l.rows[l.from:min(l.from+keysOnPage, len(l.rows))]
	if len(l.rows) == 0 || l.revision == 0 {
		return nil
	}
	return c.readRows(ctx, l)
}

// readRows reads the values of the keys on the page, and their authors. If the common
// prefix of the page's keys has more keys than one answer contains, the rest has no
// authors.
func (c *Console) readRows(ctx context.Context, l *level) error {
	at := &stelev1.At{Point: &stelev1.At_Revision{Revision: l.revision}}
	get := &stelev1.BatchGetRequest{At: at}
	for _, r := range l.rows {
		get.Keys = append(get.Keys, r.key)
	}
	var values *stelev1.BatchGetResponse
	var blame *stelev1.BlameResponse
	err := together(ctx, func(ctx context.Context) (err error) {
		values, err = c.config.BatchGet(ctx, get)
		return err
	}, func(ctx context.Context) (err error) {
		blame, err = c.ledger.Blame(ctx, &stelev1.BlameRequest{Prefix: l.common(), At: at, PageSize: keysInAnswer})
		return err
	})
	if err != nil {
		return err
	}
	for _, e := range values.Entries {
		if r := l.row(e.Key); r != nil {
			r.value, r.secret = e.Value, e.Secret
		}
	}
	for _, e := range blame.Entries {
		if r := l.row(e.Key); r != nil {
			r.author, r.message, r.time = e.Author, e.Message, e.Time
		}
	}
	return nil
}

// add sorts keys into the level.
func (l *level) add(entries []*stelev1.Entry) {
	l.total += len(entries)
	for _, e := range entries {
		name, _, below := strings.Cut(e.Key[len(l.prefix):], "/")
		switch {
		case l.filter != "" && !strings.Contains(strings.ToLower(e.Key), strings.ToLower(l.filter)):
			continue
		case l.filter == "" && below:
			l.branch(l.prefix+name+"/", e.Revision)
			continue
		}
		l.rows = append(l.rows, row{key: e.Key, revision: e.Revision})
		l.keys++
	}
}

func (l *level) branch(prefix string, revision uint64) {
	if n := len(l.branches); n == 0 || l.branches[n-1].prefix != prefix { // keys come sorted
		l.branches = append(l.branches, branch{prefix: prefix})
	}
	b := &l.branches[len(l.branches)-1]
	b.keys++
	b.newest = max(b.newest, revision)
}

// common is the common prefix of the keys on the page.
func (l *level) common() string {
	first, last := l.rows[0].key, l.rows[len(l.rows)-1].key
	n := 0
	for n < min(len(first), len(last)) && first[n] == last[n] {
		n++
	}
	return first[:n]
}

// row finds a key's row; nil when it is not on the page.
func (l *level) row(key string) *row {
	i, ok := slices.BinarySearchFunc(l.rows, key, func(r row, key string) int { return strings.Compare(r.key, key) })
	if !ok {
		return nil
	}
	return &l.rows[i]
}

// page is the address of the level's rows from another one on.
func (l *level) page(v *visit, from int) string {
	q := url.Values{}
	if l.filter != "" {
		q.Set("filter", l.filter)
	}
	if from > 0 {
		q.Set("from", strconv.Itoa(from))
	}
	path := v.to("keys", l.prefix)
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	return path
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

// number reads a number of a query; 0 if it is not a number.
func number(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

// lastPart is the part after a key's last slash.
func lastPart(key string) string { return key[strings.LastIndex(key, "/")+1:] }
