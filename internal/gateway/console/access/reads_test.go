package access

import (
	"strings"
	"testing"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// No text of a record, which an edge gateway has written, becomes a formula in a spreadsheet.
func TestRow_HoldsNoFormula(t *testing.T) {
	for _, text := range []string{"=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "＝1", "＠A1", "＋1", "－1"} {
		got := row(&stelev1.ReadRecord{Time: timestamppb.Now(), Subject: text, Method: text, Roles: []string{text}, Keys: []string{text}, Prefixes: []string{text}})
		n := 0
		for _, cell := range got {
			if strings.HasPrefix(cell, "'") {
				n++
			}
		}
		if n != 5 {
			t.Errorf("%q: %q", text, got)
		}
	}
	if got := row(&stelev1.ReadRecord{Subject: "ann", Method: "/a", Keys: []string{"a"}}); strings.ContainsRune(strings.Join(got, ""), '\'') {
		t.Errorf("an ordinary record: %q", got)
	}
}
