package console_test

import (
	"fmt"
	"strings"
	"testing"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Pages of values that are too long together for one answer of the gateway show each of them.
func TestPages_ValuesTooLongForOneAnswer(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme")
	const keys = 24 // of 500 KB
	last := &stelev1.CommitRequest{Message: "short again"}
	for i := range keys {
		key := fmt.Sprintf("long/k%02d", i)
		f.set(t, ctx, "long", key, fmt.Sprintf(`"value %02d %s"`, i, strings.Repeat("x", 500_000)))
		last.Changes = append(last.Changes, &stelev1.Change{Key: key, Value: "1"})
	}
	if _, err := f.ledger.Commit(ctx, last); err != nil {
		t.Fatal(err)
	}
	v := f.writer(t, "acme")
	for _, path := range []string{fmt.Sprintf("/acme/commits/%d", keys+1), fmt.Sprintf("/acme@%d/keys/long/", keys)} {
		a := v.get(t, path)
		holds(t, a, `"value 00 xxx`, fmt.Sprintf(`"value %02d xxx`, keys-1))
		if len(a.body) > 400_000 {
			t.Errorf("%s has %d bytes", path, len(a.body))
		}
	}
}
