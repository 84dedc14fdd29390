package diff

import (
	"fmt"
	"strings"
	"testing"
)

// Both values are longer than what is shown of them, and differ at their ends only.
func TestSides_BeginShortlyBeforeTheDifference(t *testing.T) {
	long := strings.Repeat("ä", 100_000)
	was, is := sides(`"`+long+`a"`, `"`+long+`b"`)
	if was == is || !strings.HasSuffix(was, `a"`) || !strings.HasSuffix(is, `b"`) || len(was) > 2*sideValue || !strings.HasPrefix(was, "… from byte 199,") {
		t.Errorf("was %.60q, is %.60q", was, is)
	}
	if was, is := sides(`{"a":1}`, ""); was != `{"a":1}` || is != "" {
		t.Errorf("a short value is shown as %q and %q", was, is)
	}
	if was, _ := sides(`"`+long+`"`, ""); !strings.HasSuffix(was, "KiB in all") {
		t.Errorf("a long value alone is shown as %.60q", was)
	}
}

func TestOf_OneMemberOfALargeObject(t *testing.T) {
	var b strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&b, `"member%05d":"value %d",`, i, i)
	}
	c := Of("a/k", "{"+b.String()+`"z":1}`, "{"+b.String()+`"z":2}`)
	if len(c.places) != 1 || c.places[0].Path != "/z" || string(c.places[0].Was) != "1" {
		t.Errorf("%d places of %d bytes", len(c.places), b.Len())
	}
}
