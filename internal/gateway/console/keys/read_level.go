package keys

import (
	"context"
	"slices"
	"strings"

	"github.com/stelehq/stele/internal/gateway/console/format"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// readLevel reads a level: its keys, and for those on the page their values and
// authors.
func readLevel(ctx context.Context, v *page.View, l *level) error {
	req := &stelev1.ListRequest{Prefix: l.prefix, At: v.AsOf(), KeysOnly: true, PageSize: keysInAnswer, PageToken: l.start}
	for {
		list, err := v.Config.List(ctx, req)
		if err != nil {
			return err
		}
		l.revision = list.Snapshot.Revision
		l.add(list.Entries)
		if l.next = list.NextPageToken; l.next == "" || l.total >= keysCounted {
			break
		}
		req.PageToken = l.next
	}
	l.from = min(max(l.from, 0), max(l.keys-1, 0)) / keysOnPage * keysOnPage
	l.rows = l.rows[l.from:min(l.from+keysOnPage, len(l.rows))]
	if len(l.rows) == 0 || l.revision == 0 {
		return nil
	}
	return readRows(ctx, v, l)
}

// readRows reads the values of the keys on the page, and their authors. If the common
// prefix of the page's keys has more keys than one answer contains, the rest has no
// authors.
func readRows(ctx context.Context, v *page.View, l *level) error {
	at := page.Revision(l.revision)
	keys := make([]string, len(l.rows))
	for i, r := range l.rows {
		keys[i] = r.key
	}
	var blame *stelev1.BlameResponse
	err := page.Together(ctx, func(ctx context.Context) error {
		return v.Values(ctx, keys, l.revision, l.setValue)
	}, func(ctx context.Context) (err error) {
		blame, err = v.Ledger.Blame(ctx, &stelev1.BlameRequest{Prefix: string(l.common()), At: at, PageSize: keysInAnswer})
		return err
	})
	if err != nil {
		return err
	}
	for _, e := range blame.Entries {
		if r := l.row(e.Key); r != nil {
			r.author, r.message, r.time = e.Author, e.Message, e.Time
		}
	}
	return nil
}

// rowValue is how much of a value a row keeps, in bytes: more than it shows.
const rowValue = 1 << 10

// setValue sets the value of a key's row.
func (l *level) setValue(e *stelev1.Entry) {
	if r := l.row(e.Key); r != nil {
		begin, _ := format.Begin(e.Value, rowValue)
		r.value, r.secret, r.base = strings.Clone(begin), e.Secret, e.Base
	}
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

// common selects the keys that begin with the common prefix of those on the page.
func (l *level) common() ledger.Pattern {
	first, last := l.rows[0].key, l.rows[len(l.rows)-1].key
	if first == last {
		return ledger.Pattern(first)
	}
	n := 0
	for n < min(len(first), len(last)) && first[n] == last[n] {
		n++
	}
	return ledger.Pattern(first[:n] + "*")
}

// row finds a key's row; nil when it is not on the page.
func (l *level) row(key string) *row {
	i, ok := slices.BinarySearchFunc(l.rows, key, func(r row, key string) int { return strings.Compare(r.key, key) })
	if !ok {
		return nil
	}
	return &l.rows[i]
}
