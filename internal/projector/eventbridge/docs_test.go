package eventbridge_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector/fakeaws"
	"github.com/stelehq/stele/schemas/events"
)

var section = regexp.MustCompile("(?s)### ([^\n]+)\n\n```json\n(.*?)\n```")

// The patterns that the documentation has match what they say, of what the sink
// sends.
func TestDocumentedPatterns(t *testing.T) {
	server, sink := start(t, `{}`)
	changes := []struct {
		tenant ledger.Tenant
		key    ledger.Key
		value  ledger.Value
	}{
		{"acme", "tenantconfig/checkout/enabled", "false"},
		{"acme", "tenantconfig/checkout/timeout_ms", "3000"},
		{"acme", "tenantconfig/cart", "true"},
		{"acme", "paramconfig/db/pool", ""},
		{"acme", "paramconfig/db/size", "1"},
		{"acme-2", "tenantconfig/checkout/enabled", "true"},
		{"globex", "paramconfig/db/pool", ""},
	}
	for i, c := range changes {
		w := write(i, c.value, loud)
		w.Tenant, w.Key = c.tenant, c.key
		all(t, sink, w)
	}
	want := map[string][]int{
		"One tenant":                             {0, 1, 2, 3, 4},
		"One tag":                                {0, 1, 2, 5},
		"One prefix":                             {0, 1, 5},
		"Deletions of one tenant under a prefix": {3},
		"A value":                                {0},
	}

	text, err := os.ReadFile("../../../docs/eventbridge.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, m := range section.FindAllStringSubmatch(string(text), -1) {
		seen++
		p, err := fakeaws.ParsePattern([]byte(m[2]))
		if err != nil {
			t.Errorf("%s: %v", m[1], err)
			continue
		}
		var got []int
		for i, e := range server.Buses.Events() {
			matches := func() bool {
				text, err := json.Marshal(e)
				if err != nil {
					t.Fatal(err)
				}
				return p.Match(text)
			}
			if matches() {
				got = append(got, i)
			}
			e.Source = "another"
			if matches() {
				t.Errorf("%s: it matches another source's events", m[1])
			}
		}
		if !slices.Equal(got, want[m[1]]) {
			t.Errorf("%s matches the changes %v, not %v", m[1], got, want[m[1]])
		}
	}
	if seen != len(want) {
		t.Errorf("%d patterns are documented, not %d", seen, len(want))
	}
}

// The event that the documentation shows is one.
func TestDocumentedEvent(t *testing.T) {
	text, err := os.ReadFile("../../../docs/eventbridge.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n## Event format\n")
	_, rest, _ = strings.Cut(rest, "```json\n")
	detail, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("docs/eventbridge.md has no JSON block under the heading Event format")
	}
	if _, err := events.ParseConfigurationChanged([]byte(detail)); err != nil {
		t.Error(err)
	}
	schemaOf(t)([]byte(detail))
}
