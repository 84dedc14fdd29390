package schema_test

import (
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
)

// BenchmarkCheck is what a commit of one value pays for schemas: none at all, and one
// of its own that it satisfies.
func BenchmarkCheck(b *testing.B) {
	w := start(b, ledgertest.Server(b))
	value := `{"name":"` + strings.Repeat("a", 254) + `","timeout_ms":250,"beta":true,"hosts":["a","b"]}`
	cs := set("tenantconfig/svc-0001/setting-000001", value)
	w.commit(b, "without", cs)
	w.commit(b, "with", cs)
	w.commit(b, "with", set("_schema/tenantconfig", `{
		"type": "object", "required": ["name", "timeout_ms"], "additionalProperties": false,
		"properties": {
			"name": {"type": "string", "maxLength": 300, "pattern": "^[a-z]+$"},
			"timeout_ms": {"type": "integer", "minimum": 1, "maximum": 60000},
			"beta": {"type": "boolean"},
			"hosts": {"type": "array", "maxItems": 8, "items": {"enum": ["a", "b", "c"]}}
		}}`))
	for _, t := range []ledger.Tenant{"without", "with"} {
		b.Run(string(t), func(b *testing.B) {
			state, err := w.Replica.Newest(t)
			if err != nil {
				b.Fatal(err)
			}
			defer state.Close()
			b.ReportAllocs()
			for b.Loop() {
				in, err := w.source.In(t, state)
				if err != nil {
					b.Fatal(err)
				}
				if err := in.Check(b.Context(), &cs, cs.Changes); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
