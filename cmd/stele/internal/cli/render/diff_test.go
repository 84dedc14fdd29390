package render

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func TestDiff_NamesKeysAndPlaces(t *testing.T) {
	for _, c := range []struct {
		name string
		diff *stelev1.KeyDiff
		text string
		json string
	}{
		{"set", &stelev1.KeyDiff{Key: "a/b", ToValue: `{"x":1}`, ToRevision: 3},
			"+ a/b = {\"x\":1}  @3\n",
			`{"key":"a/b","from":{"revision":0},"to":{"revision":3,"value":{"x":1}}}`},
		{"set again", &stelev1.KeyDiff{Key: "a/b", FromRevision: 2, ToValue: `1`, ToRevision: 3},
			"+ a/b = 1  @2..@3\n",
			`{"key":"a/b","from":{"revision":2},"to":{"revision":3,"value":1}}`},
		{"deleted", &stelev1.KeyDiff{Key: "a/b", FromValue: `"x"`, FromRevision: 1, ToRevision: 3},
			"- a/b = \"x\"  @1..@3\n",
			`{"key":"a/b","from":{"revision":1,"value":"x"},"to":{"revision":3}}`},
		{"backwards to a key that was not set", Backwards(&stelev1.KeyDiff{Key: "a/b", ToValue: `1`, ToRevision: 3}),
			"- a/b = 1  @3\n",
			`{"key":"a/b","from":{"revision":3,"value":1},"to":{"revision":0}}`},
		{"a scalar", &stelev1.KeyDiff{Key: "a/b", FromValue: `9007199254740992`, FromRevision: 1, ToValue: `9007199254740993`, ToRevision: 2},
			"~ a/b = 9007199254740992 -> 9007199254740993  @1..@2\n",
			`{"key":"a/b","from":{"revision":1,"value":9007199254740992},"to":{"revision":2,"value":9007199254740993},"patch":[{"op":"replace","path":"","value":9007199254740993}]}`},
		{"set to what it was", &stelev1.KeyDiff{Key: "a/b", FromValue: `{"x":1,"y":2}`, FromRevision: 1, ToValue: `{"y":2,"x":1}`, ToRevision: 2},
			"~ a/b = {\"y\":2,\"x\":1}, as before  @1..@2\n",
			`{"key":"a/b","from":{"revision":1,"value":{"x":1,"y":2}},"to":{"revision":2,"value":{"y":2,"x":1}}}`},
		{"deleted, and was not there", &stelev1.KeyDiff{Key: "a/b", FromRevision: 1, ToRevision: 2},
			"- a/b, was not set  @1..@2\n",
			`{"key":"a/b","from":{"revision":1},"to":{"revision":2}}`},
		{"places", &stelev1.KeyDiff{Key: "a/b", FromValue: `{"hosts":["a","b"],"max":10,"old":true}`, FromRevision: 1, ToValue: `{"hosts":["a","b","<c>"],"max":1e1,"\u001b":null}`, ToRevision: 2},
			"~ a/b  @1..@2\n    + /\\u001b = null\n    + /hosts/2 = \"<c>\"\n    ~ /max = 10 -> 1e1\n    - /old = true\n",
			`{"key":"a/b","from":{"revision":1,"value":{"hosts":["a","b"],"max":10,"old":true}},"to":{"revision":2,"value":{"hosts":["a","b","<c>"],"max":1e1,"\u001b":null}},` +
				`"patch":[{"op":"add","path":"/\u001b","value":null},{"op":"add","path":"/hosts/2","value":"<c>"},{"op":"replace","path":"/max","value":1e1},{"op":"remove","path":"/old"}]}`},
	} {
		for format, want := range map[output.Format]string{output.Text: c.text, output.JSON: c.json + "\n"} {
			var b bytes.Buffer
			if err := WriteDiff(output.NewPrinter(&b, format), c.diff); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			if d := cmp.Diff(want, b.String()); d != "" {
				t.Errorf("%s as %s (-want +got):\n%s", c.name, format, d)
			}
		}
	}
}

func TestCommit_ShowsItsOrigin(t *testing.T) {
	for _, c := range []struct {
		origin *stelev1.Origin
		text   string
		json   string
	}{
		{&stelev1.Origin{Kind: &stelev1.Origin_Rollback{Rollback: &stelev1.RollbackOrigin{Revision: 3, Prefix: "a/"}}}, "rollback: to @3, keys under a/", `{"revision":3,"prefix":"a/"}null`},
		{&stelev1.Origin{Kind: &stelev1.Origin_Rollback{Rollback: &stelev1.RollbackOrigin{}}}, "rollback: to @0", `{"revision":0,"prefix":""}null`},
		{&stelev1.Origin{Kind: &stelev1.Origin_Revert{Revert: &stelev1.RevertOrigin{Revisions: []uint64{7, 4}}}}, "revert: of @7, @4", `null[7,4]`},
		{nil, ": ", `nullnull`},
	} {
		name, what := Origin(c.origin)
		if got := name + ": " + what; got != c.text {
			t.Errorf("%q, want %q", got, c.text)
		}
		o := CommitObject(&stelev1.CommitInfo{Commit: &stelev1.Commit{Origin: c.origin}})
		rollback, err := json.Marshal(o.Rollback)
		if err != nil {
			t.Fatal(err)
		}
		reverts, err := json.Marshal(o.Reverts)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(rollback) + string(reverts); got != c.json {
			t.Errorf("%s, want %s", got, c.json)
		}
	}
}
