// Package routes determines which keys go to which sinks.
//
// Routes are a document, the value of the key projector/routes in the ledger's own
// tenant, so that they have a history like every setting; or a file, until that key is
// set:
//
//	{
//	  "sinks":  {"files": {"kind": "directory"}, "bus": {"kind": "eventbridge"}},
//	  "routes": [{"prefix": "tenantconfig/", "sinks": ["files", "bus"]}]
//	}
//
// For each key, the route with the longest matching prefix applies. A key without a
// route is kept in the ledger and served like any other.
package routes

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/strictjson"
)

// Key is where the ledger's own tenant keeps the routes.
const Key ledger.Key = "projector/routes"

// Table is a document of routes. It does not change.
type Table struct {
	// Strict rejects writes of keys without a route.
	Strict bool
	// Sinks by name.
	Sinks map[string]Sink
	// routes, the one with the longest prefix first.
	routes  []*Route
	secrets bool // some route is secret
	text    jsontext.Value
}

// Sink is a sink that the table names.
type Sink struct {
	Name string
	// Kind is the kind of system that the sink writes to: directory, dynamodb,
	// parameterstore or eventbridge.
	Kind string
	// DriftLimit is how much drift the projector adopts without confirmation.
	DriftLimit DriftLimit
	// Settings are a JSON object that the kind reads.
	Settings jsontext.Value
}

// DriftLimit bounds the items that are missing or changed in a sink at once. A sink
// whose routes adopt drift stops when both limits are exceeded.
type DriftLimit struct {
	// Items is a number of items, 10 by default.
	Items int
	// Percent is a share of the items that the sink should hold, from 0 to 100; 5 by
	// default.
	Percent float64
}

var defaultDriftLimit = DriftLimit{Items: 10, Percent: 5}

// Exceeded reports whether n of total items are more than the limit allows.
func (l DriftLimit) Exceeded(n, total int) bool {
	return n > l.Items && float64(n) > l.Percent/100*float64(total)
}

// Route says where the keys that a prefix selects go.
type Route struct {
	Prefix ledger.Pattern
	// Sinks by name; empty for keys that go to no sink.
	Sinks []string
	// Drift is the handling of items that were changed in a sink.
	Drift Drift
	// AdoptDeletions lets drift that is adopted delete the keys of missing items.
	// Without it a missing item is only reported.
	AdoptDeletions bool
	// Secure writes values as a SecureString where the sink has such; KMSKey is the
	// key that encrypts it, empty for the account's own.
	Secure bool
	KMSKey string
	// Values lets events carry the values of the keys.
	Values bool
	// Secret has the values encrypted before they reach the journal. A sink gets them
	// where the route is secure and the sink keeps secrets, and else "***"; events
	// never carry them.
	Secret bool
}

// Drift is the handling of an item that differs from the ledger.
type Drift string

const (
	Report Drift = "report" // list it, and leave it
	Repair Drift = "repair" // write the ledger's value
	Adopt  Drift = "adopt"  // commit the item's value
)

type document struct {
	Strict bool             `json:"strict,omitzero"`
	Sinks  map[string]entry `json:"sinks"`
	Routes []route          `json:"routes"`
}

type entry struct {
	Kind       string         `json:"kind"`
	DriftLimit driftLimit     `json:"drift_limit,omitzero"`
	Settings   jsontext.Value `json:",embed"`
}

type driftLimit struct {
	Items   *int     `json:"items,omitzero"`
	Percent *float64 `json:"percent,omitzero"`
}

func (d driftLimit) parse() (DriftLimit, error) {
	limit := defaultDriftLimit
	if d.Items != nil {
		limit.Items = *d.Items
	}
	if d.Percent != nil {
		limit.Percent = *d.Percent
	}
	if limit.Items < 0 || limit.Percent < 0 || limit.Percent > 100 {
		return limit, fmt.Errorf("drift_limit is %d items and %v percent: items must not be negative, and percent must be from 0 to 100", limit.Items, limit.Percent)
	}
	return limit, nil
}

type route struct {
	Prefix         string   `json:"prefix"`
	Sinks          []string `json:"sinks"`
	Drift          Drift    `json:"drift,omitzero"`
	AdoptDeletions bool     `json:"adopt_deletions,omitzero"`
	Secure         bool     `json:"secure,omitzero"`
	KMSKey         string   `json:"kms_key,omitzero"`
	Values         bool     `json:"values,omitzero"`
	Secret         bool     `json:"secret,omitzero"`
}

// Parse reads a document. Unknown fields are errors, because they may be spelling
// mistakes.
func Parse(text []byte) (*Table, error) {
	var d document
	if err := strictjson.Unmarshal(text, &d, "they must be an object with sinks and routes"); err != nil {
		return nil, fmt.Errorf("read the routes: %w", err)
	}
	t := &Table{Strict: d.Strict, Sinks: make(map[string]Sink), text: jsontext.Value(slices.Clone(text))}
	if err := t.text.Compact(); err != nil {
		return nil, fmt.Errorf("read the routes: %w", err)
	}
	for name, e := range d.Sinks {
		if err := checkName(name); err != nil {
			return nil, err
		}
		if e.Kind == "" {
			e.Kind = name
		}
		if len(e.Settings) == 0 {
			e.Settings = jsontext.Value("{}")
		}
		limit, err := e.DriftLimit.parse()
		if err != nil {
			return nil, fmt.Errorf("sink %s: %w", name, err)
		}
		t.Sinks[name] = Sink{Name: name, Kind: e.Kind, DriftLimit: limit, Settings: e.Settings}
	}
	for i, r := range d.Routes {
		parsed, err := t.parse(r)
		if err != nil {
			return nil, fmt.Errorf("routes[%d]: %w", i, err)
		}
		if slices.ContainsFunc(t.routes, func(other *Route) bool { return other.Prefix == parsed.Prefix }) {
			return nil, fmt.Errorf("routes[%d]: the prefix %q has a route already", i, r.Prefix)
		}
		t.routes = append(t.routes, parsed)
		t.secrets = t.secrets || parsed.Secret
	}
	slices.SortStableFunc(t.routes, func(a, b *Route) int { return cmp.Compare(len(b.Prefix), len(a.Prefix)) })
	return t, nil
}

func (t *Table) parse(r route) (*Route, error) {
	prefix, err := ledger.ParsePattern(r.Prefix)
	if err != nil {
		return nil, err
	}
	for _, name := range r.Sinks {
		if _, ok := t.Sinks[name]; !ok {
			return nil, fmt.Errorf("unknown sink %q, the sinks are %v", name, slices.Sorted(maps.Keys(t.Sinks)))
		}
	}
	switch r.Drift {
	case "":
		r.Drift = Report
	case Report, Repair, Adopt:
	default:
		return nil, fmt.Errorf("drift is %q: use report, repair or adopt", r.Drift)
	}
	if r.AdoptDeletions && r.Drift != Adopt {
		return nil, fmt.Errorf("adopt_deletions requires drift: adopt, and drift is %s", r.Drift)
	}
	if r.KMSKey != "" && !r.Secure {
		return nil, errors.New("kms_key requires secure: true")
	}
	return &Route{Prefix: prefix, Sinks: r.Sinks, Drift: r.Drift, AdoptDeletions: r.AdoptDeletions, Secure: r.Secure, KMSKey: r.KMSKey, Values: r.Values, Secret: r.Secret}, nil
}

// maxName is the longest name of a sink, in bytes.
const maxName = 63

func checkName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("a sink's name has %d bytes, not 1 to %d", len(name), maxName)
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("sink %q has %q at byte %d: use a-z, 0-9 and \"-\"", name, c, i)
		}
	}
	return nil
}

// Route is the route that applies to the key; nil if it has none. The ledger's own keys
// never have a route.
func (t *Table) Route(k ledger.Key) *Route {
	if k.Reserved() {
		return nil
	}
	for _, r := range t.routes {
		if r.Prefix.Match(k) {
			return r
		}
	}
	return nil
}

// Secret reports whether the key's values are secret.
func (t *Table) Secret(k ledger.Key) bool {
	if !t.secrets {
		return false // most tables, at no cost to reads
	}
	r := t.Route(k)
	return r != nil && r.Secret
}

// Routes are all, the one with the longest prefix first. Do not change them.
func (t *Table) Routes() []*Route { return t.routes }

// Wants reports whether the route sends keys to the sink; a nil route does not.
func (r *Route) Wants(sink string) bool { return r != nil && slices.Contains(r.Sinks, sink) }

// String is the document.
func (t *Table) String() string { return string(t.text) }

// Routing is all that the table says of a sink: its settings and the routes. When
// it changes, other keys may be the sink's.
func (t *Table) Routing(sink string) string {
	s := t.Sinks[sink]
	d := document{Sinks: map[string]entry{sink: {Kind: s.Kind, Settings: s.Settings}}}
	for _, r := range t.routes {
		d.Routes = append(d.Routes, route{Prefix: string(r.Prefix), Secure: r.Secure, KMSKey: r.KMSKey, Secret: r.Secret, Sinks: []string{}})
		if r.Wants(sink) {
			d.Routes[len(d.Routes)-1].Sinks = []string{sink}
		}
	}
	text, err := json.Marshal(d, json.Deterministic(true))
	if err != nil {
		panic(fmt.Sprintf("routes that were read cannot be written: %v", err))
	}
	return string(text)
}
