package console_test

import (
	"fmt"
	"strings"
	"testing"
)

// A page that does not look at all keys says so, and leads to the rest, with the filter.
func TestKeys_MoreThanAPageLooksAt(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme")
	for part := range 5 {
		kv := make([]string, 0, 20_000)
		for i := range 10_000 {
			kv = append(kv, fmt.Sprintf("k/%d/%05d", part, i), "1")
		}
		f.set(t, ctx, "many keys", kv...)
	}
	f.set(t, ctx, "the last key", "z/zebra", "1")
	v := f.writer(t, "acme")
	a := v.get(t, "/acme/keys/?filter=zebra")
	if text := a.text(); !strings.Contains(text, "None of the 50,000 keys that this page looks at") {
		t.Errorf("it does not say which keys it has looked at: %s", brief(text))
	}
	rest := ""
	for _, link := range a.all("a") {
		if attr(link, "rel") == "next" {
			rest = attr(link, "href")
		}
	}
	if !strings.Contains(rest, "filter=zebra") {
		t.Fatalf("the link to the rest is %q", rest)
	}
	if text := v.get(t, rest).text(); !strings.Contains(text, "z/zebra") || strings.Contains(text, "There are more keys") {
		t.Errorf("the rest: %s", brief(text))
	}
	if a := v.get(t, "/acme/keys/?start=nonsense"); a.code != 400 {
		t.Errorf("a made-up start: %d", a.code)
	}
}
