package projector_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/directory"
	"github.com/stelehq/stele/internal/projector/parameterstore"
)

// The changes of a commit that the sinks of a table would reject, by key and sink.
func TestRefusals(t *testing.T) {
	kinds := map[string]projector.FitKind{"directory": directory.Fit, "parameterstore": parameterstore.Fit}
	table, err := routes.Parse([]byte(`{
		"sinks": {"files": {"kind": "directory"}, "store": {"kind": "parameterstore", "region": "eu-west-1"}, "bad": {"kind": "directory", "mode": "777"}, "odd": {"kind": "odd"}},
		"routes": [
			{"prefix": "f/", "sinks": ["files"]}, {"prefix": "f/none/", "sinks": []}, {"prefix": "p/", "sinks": ["store", "files"]},
			{"prefix": "p/secure/", "sinks": ["store"], "secure": true, "secret": true}, {"prefix": "p/secret/", "sinks": ["store"], "secret": true},
			{"prefix": "bad/", "sinks": ["bad"]}, {"prefix": "odd/", "sinks": ["odd"]}
		]
	}`))
	if err != nil {
		t.Fatal(err)
	}
	keys := []ledger.Key{"f/a", "f/b/c", "f/d", "f/e/f", "f/none/x/y", "f/none/z"}
	live := func(p ledger.Prefix, yield func(ledger.Key) bool) error {
		for _, k := range keys {
			if p.Match(k) && !yield(k) {
				return nil
			}
		}
		return nil
	}
	for _, tc := range []struct {
		name string
		set  string // KEY=VALUE, blanks between; without a value: deleted
		want string // KEY SINK: part of the reason, "; " between
	}{
		{"what fits", `f/x=1 f/y/z=2 p/a="s" other/key=""`, ""},
		{"an empty string", `p/a=""`, "p/a store: an empty string"},
		{"a secret that the store gets", `p/secure/a=""`, "p/secure/a store: an empty string"},
		{"one that it does not", `p/secret/a=""`, ""},
		{"a name", "f/" + strings.Repeat("x", 256) + "=1", "f/" + strings.Repeat("x", 256) + " files: at most 255 bytes"},
		{"settings that cannot be read", `bad/a=1`, "bad/a bad: cannot be opened: settings of sink bad"},
		{"a kind that is not known", `odd/a=1`, "odd/a odd: unknown kind"},
		{"a key that is a folder", `f/b=1`, "f/b files: f/b is a folder of other keys"},
		{"a key below a key", `f/a/b/c=1`, "f/a/b/c files: f/a is also a key"},
		{"a key that is there", `f/a=1`, ""},
		{"a folder that goes", `f/b=1 f/b/c`, ""},
		{"a key that goes", `f/a/b=1 f/a`, ""},
		{"two new ones", `f/n/m=1 f/n=1`, "f/n/m files: f/n is also a key"},
		{"a new one that does not come in", `f/e=1 f/e/g=1`, "f/e files: f/e is a folder"},
		{"those of no sink", `f/none=1`, ""},
		{"next to it", `f/a-b=1 f/ab=1`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &ledger.Commit{Tenant: "acme", Revision: 7}
			for _, kv := range strings.Fields(tc.set) {
				k, v, _ := strings.Cut(kv, "=")
				c.Changes = append(c.Changes, ledger.Change{Key: ledger.Key(k), Value: ledger.Value(v), Delete: v == ""})
			}
			got, err := projector.Refusals(kinds, table, c, live)
			if err != nil {
				t.Fatal(err)
			}
			want := slices.DeleteFunc(strings.Split(tc.want, "; "), func(s string) bool { return s == "" })
			if len(got) != len(want) {
				t.Fatalf("refused: %v", got)
			}
			for i, r := range got {
				at, reason, _ := strings.Cut(want[i], ": ")
				if r.Key+" "+r.Sink != at || !strings.Contains(r.Reason, reason) {
					t.Errorf("refused: %v, want %s", r, want[i])
				}
			}
		})
	}
}
