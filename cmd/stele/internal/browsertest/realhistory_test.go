package browsertest

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/changelog"
	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/cmd/stele/internal/importer"
	"github.com/stelehq/stele/internal/ledger"
)

// TestConsole_RealHistory does the daily tasks of an operator on the real history that
// scripts/history describes. The pages must show what a replay of the history says.
func TestConsole_RealHistory(t *testing.T) {
	needBrowser(t)
	dir := os.Getenv("STELE_HISTORY")
	if dir == "" {
		t.Skip("the console is not tested on a real history: STELE_HISTORY is not set; scripts/history describes it")
	}
	h := readHistory(t, filepath.Join(dir, "data", "govuk-settings.jsonl.gz"))
	w := newWorld(t, false)
	h.load(t, w)
	browse(t, "realhistory.mjs", struct {
		*world
		History *facts
	}{w, h.facts(t)})
}

// change is a change of a history.
type change struct {
	Key    ledger.Key      `json:"key"`
	Value  json.RawMessage `json:"value,omitempty"`
	Delete bool            `json:"delete,omitempty"`
}

// historyLine is a line of the change log, read without any code of the import.
type historyLine struct {
	Time    time.Time     `json:"time"`
	Author  string        `json:"author"`
	Message string        `json:"message"`
	Source  string        `json:"source"`
	Tenant  ledger.Tenant `json:"tenant"`
	Changes []change      `json:"changes"`
}

// realHistory has the lines of each tenant: the environments of the source, and the programs
// that changed most in one of them, each as a tenant of its own.
type realHistory struct {
	tenants map[ledger.Tenant][]historyLine
}

const (
	// mainTenant and otherTenant are the environments that the tasks are done in.
	mainTenant, otherTenant ledger.Tenant = "production", "staging"
	// programs is how many programs become tenants.
	programs = 20
)

// program is the program that a key belongs to.
func program(k ledger.Key) string {
	parts := strings.SplitN(string(k), "/", 3)
	if len(parts) < 3 {
		return ""
	}
	return parts[1]
}

func readHistory(t *testing.T, file string) *realHistory {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unpacked, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	h := &realHistory{tenants: make(map[ledger.Tenant][]historyLine)}
	changes := make(map[string]int)
	for d := json.NewDecoder(unpacked); d.More(); {
		var l historyLine
		if err := d.Decode(&l); err != nil {
			t.Fatal(err)
		}
		h.tenants[l.Tenant] = append(h.tenants[l.Tenant], l)
		if l.Tenant == mainTenant {
			for _, c := range l.Changes {
				changes[program(c.Key)]++
			}
		}
	}
	busiest := slices.SortedFunc(maps.Keys(changes), func(a, b string) int { return cmp.Or(changes[b]-changes[a], strings.Compare(a, b)) })
	added := 0
	for _, name := range busiest {
		tenant, err := ledger.ParseTenant(name)
		if err != nil || h.tenants[tenant] != nil || added == programs {
			continue
		}
		added++
		for _, l := range h.tenants[mainTenant] {
			l.Tenant = tenant
			l.Changes = slices.DeleteFunc(slices.Clone(l.Changes), func(c change) bool { return program(c.Key) != name })
			if len(l.Changes) > 0 {
				h.tenants[tenant] = append(h.tenants[tenant], l)
			}
		}
	}
	if added < programs {
		t.Fatalf("%d programs become tenants, want %d", added, programs)
	}
	return h
}

// load imports all lines.
func (h *realHistory) load(t *testing.T, w *world) {
	t.Helper()
	all := slices.Concat(slices.Collect(maps.Values(h.tenants))...)
	slices.SortStableFunc(all, func(a, b historyLine) int { return a.Time.Compare(b.Time) }) // so that tenants are imported side by side
	var log bytes.Buffer
	e := json.NewEncoder(&log)
	for _, l := range all {
		if err := e.Encode(l); err != nil {
			t.Fatal(err)
		}
	}
	lines, err := changelog.NewReader(&log, "")
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	tallies, err := importer.Run(t.Context(), importer.Config{Client: w.ledger, ForTenant: conn.AsTenant}, lines)
	if err != nil {
		t.Fatal(err)
	}
	written := 0
	for _, tally := range tallies {
		written += tally.Written
	}
	t.Logf("%d commits of %d tenants imported in %s", written, len(tallies), time.Since(begun).Round(time.Millisecond))
}

// state replays a tenant's lines up to a time; the zero time is the end.
func (h *realHistory) state(t *testing.T, tenant ledger.Tenant, at time.Time) map[ledger.Key]ledger.Value {
	t.Helper()
	state := make(map[ledger.Key]ledger.Value)
	for _, l := range h.tenants[tenant] {
		if !at.IsZero() && l.Time.After(at) {
			break
		}
		for _, c := range l.Changes {
			if c.Delete {
				delete(state, c.Key)
				continue
			}
			v, err := ledger.ParseValue(string(c.Value))
			if err != nil {
				t.Fatalf("%s: %v", c.Key, err)
			}
			state[c.Key] = v
		}
	}
	return state
}

// facts are what the pages must show.
type facts struct {
	Tenant, Other ledger.Tenant
	Tenants       int
	// Key is the key of Tenant that changed most.
	Key    ledger.Key
	Author string
	// Text is found in so many keys of Tenant, of which First is one, and in so many of all
	// tenants, counting at most tenantMatches of each.
	Text       string
	Found      int
	First      ledger.Key
	Everywhere int
	// Compared is a prefix of which so many keys differ between the states of two times. Going
	// back to From sets and deletes keys.
	Compared, From, To  string
	Differ              int
	SetBack, DeleteBack int
	// Between is a prefix of which so many keys differ between Tenant and Other.
	Between       string
	DifferBetween int
}

// tenantMatches is how many matches of each tenant the search of all tenants shows.
const tenantMatches = 10

func (h *realHistory) facts(t *testing.T) *facts {
	t.Helper()
	f := &facts{Tenant: mainTenant, Other: otherTenant, Tenants: len(h.tenants)}
	now := h.state(t, mainTenant, time.Time{})

	versions, commits := make(map[ledger.Key]int), make(map[string]int)
	for _, l := range h.tenants[mainTenant] {
		commits[l.Author]++
		for _, c := range l.Changes {
			if versions[c.Key]++; now[c.Key] != "" && versions[c.Key] > versions[f.Key] {
				f.Key = c.Key
			}
		}
	}
	for author, n := range commits {
		if n > commits[f.Author] {
			f.Author = author
		}
	}

	for _, f.Text = range []string{"elasticsearch", "redis", "mongo", "sentry", "memcached", "nginx"} {
		found := matches(now, f.Text)
		if f.Found = len(found); f.Found >= 5 && f.Found <= 60 {
			f.First = found[0]
			break
		}
	}
	for tenant := range h.tenants {
		f.Everywhere += min(len(matches(h.state(t, tenant, time.Time{}), f.Text)), tenantMatches)
	}

	const minute = "2006-01-02T15:04"
	from, to := time.Date(2025, 3, 1, 0, 0, 0, 0, time.UTC), time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC)
	older, newer := h.state(t, mainTenant, from), h.state(t, mainTenant, to)
	other := h.state(t, otherTenant, time.Time{})
	f.From, f.To = from.Format(minute), to.Format(minute)
	f.Compared = h.prefix(t, now, func(prefix string) int { set, deleted := differences(prefix, older, newer); return set + deleted })
	set, deleted := differences(f.Compared, older, newer)
	f.Differ = set + deleted
	f.SetBack, f.DeleteBack = differences(f.Compared, now, older)
	f.Between = h.prefix(t, now, func(prefix string) int { set, deleted := differences(prefix, now, other); return set + deleted })
	set, deleted = differences(f.Between, now, other)
	f.DifferBetween = set + deleted
	if f.First == "" || f.SetBack == 0 {
		t.Fatalf("the history does not have what the tasks need: %+v", f)
	}
	return f
}

// prefix returns the first prefix of a program for which count is a number of keys that fits one
// page.
func (h *realHistory) prefix(t *testing.T, state map[ledger.Key]ledger.Value, count func(prefix string) int) string {
	t.Helper()
	for _, k := range slices.Sorted(maps.Keys(state)) {
		if program(k) == "" {
			continue
		}
		tag, _, _ := strings.Cut(string(k), "/")
		prefix := fmt.Sprintf("%s/%s/", tag, program(k))
		if n := count(prefix); n >= 4 && n <= 60 {
			return prefix
		}
	}
	t.Fatal("no prefix of a program has between 4 and 60 differences")
	return ""
}

// matches are the keys whose name or value contains a text, sorted.
func matches(state map[ledger.Key]ledger.Value, text string) (keys []ledger.Key) {
	for k, v := range state {
		if strings.Contains(strings.ToLower(string(k)), text) || strings.Contains(strings.ToLower(string(v)), text) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// differences counts the keys under a prefix that are set, to another value or newly, and deleted
// on the way from one state to another.
func differences(prefix string, from, to map[ledger.Key]ledger.Value) (set, deleted int) {
	for k, v := range to {
		if strings.HasPrefix(string(k), prefix) && (from[k] == "" || !from[k].Equal(v)) {
			set++
		}
	}
	for k := range from {
		if strings.HasPrefix(string(k), prefix) && to[k] == "" {
			deleted++
		}
	}
	return set, deleted
}
