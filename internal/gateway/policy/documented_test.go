package policy_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway/policy"
)

var write = flag.Bool("write", false, "write the table of methods to docs/access.md")

const (
	document = "../../../docs/access.md"
	begin    = "<!-- The table of methods: go test ./internal/gateway/policy -run Documented -write -->\n"
	end      = "<!-- End of the table. -->\n"
)

// docs/access.md shows the table as it is.
func TestMethods_Documented(t *testing.T) {
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	shown, after, ended := strings.Cut(rest, end)
	if !ok || !ended {
		t.Fatalf("%s has no place for the table", document)
	}
	var want strings.Builder
	want.WriteString("\n| method | needs | prefixes limit | writes | recorded as a read |\n| --- | --- | --- | --- | --- |\n")
	for _, m := range policy.Sorted() {
		if m.Needs == policy.Public {
			continue
		}
		name, writes := strings.TrimPrefix(strings.TrimPrefix(m.Name, "/"), "stele.v1."), ""
		if m.Writes {
			writes = "yes"
		}
		if m.Stream {
			name += " (stream)"
		}
		fmt.Fprintf(&want, "| %s | %s | %s | %s | %s |\n", name, m.Needs, m.Limits, writes, m.Records)
	}
	want.WriteString("\n")
	if shown == want.String() {
		return
	}
	if !*write {
		t.Fatalf("%s does not show the table of methods: go test ./internal/gateway/policy -run Documented -write", document)
	}
	if err := os.WriteFile(document, []byte(before+begin+want.String()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
