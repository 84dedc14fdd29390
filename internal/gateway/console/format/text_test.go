package format

import (
	"strings"
	"testing"
	"time"
)

func TestVisible(t *testing.T) {
	for text, want := range map[string]string{
		"plain, ünïcode 漢字 🙂":       "plain, ünïcode 漢字 🙂",
		"two\nlines\tand a tab":     "two\nlines\tand a tab",
		"a\u202egnp.exe":            `a\u202egnp.exe`,
		"\u2066x\u2069":             `\u2066x\u2069`,
		"zero\u200bwidth\ufeff":     `zero\u200bwidth\ufeff`,
		"\x1b[31mred\x00\x7f\u0085": `\u001b[31mred\u0000\u007f\u0085`,
	} {
		if got := Visible(text); got != want {
			t.Errorf("%q is shown as %q and not %q", text, got, want)
		}
	}
}

func TestPretty(t *testing.T) {
	for value, want := range map[string]string{
		`{"a":9007199254740993,"b":[1.0,1e400]}`: "{\n  \"a\": 9007199254740993,\n  \"b\": [\n    1.0,\n    1e400\n  ]\n}",
		`"a\u0041"`:                              `"a\u0041"`,
		`{}`:                                     `{}`,
	} {
		if got := Pretty(value); got != want {
			t.Errorf("%s is shown as %s", value, got)
		}
	}
}

func TestBegin(t *testing.T) {
	if s, cut := Begin("äöü", 3); s != "ä" || !cut {
		t.Errorf("%q, %v", s, cut)
	}
	if s, cut := Begin("äöü", 6); s != "äöü" || cut {
		t.Errorf("%q, %v", s, cut)
	}
}

func TestCompact(t *testing.T) {
	value := `{"list":[` + strings.TrimSuffix(strings.Repeat(`"x",`, 120_000), ",") + `]}`
	if got := Compact(Pretty(value)); got != value {
		t.Errorf("%d bytes became %d in the form's layout and then %d", len(value), len(Pretty(value)), len(got))
	}
	if got := Compact(`{"a": }`); got != `{"a": }` {
		t.Errorf("text that is not JSON became %q", got)
	}
}

func TestAgo(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "just now", time.Second: "just now", 12 * time.Second: "12 s ago", time.Minute: "1 minute ago",
		90 * time.Minute: "1 hour ago", 50 * time.Hour: "2 days ago", 400 * 24 * time.Hour: "1 year ago",
	} {
		if got := Ago(d); got != want {
			t.Errorf("%s is %q and not %q", d, got, want)
		}
	}
}

// A value that is nested deep, or has many elements deep inside, does not grow by its
// layout: it is shown as it is.
func TestPretty_IsBoundedBeforeItAllocates(t *testing.T) {
	deep := strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000)
	many := strings.Repeat("[", 99) + strings.Repeat("1,", 100_000) + "1" + strings.Repeat("]", 99)
	for name, value := range map[string]string{"deep": deep, "many": many} {
		if got := Pretty(value); got != value {
			t.Errorf("%s: %d bytes became %d", name, len(value), len(got))
		}
		if n := testing.AllocsPerRun(1, func() { Pretty(value) }); n > 10 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	for _, value := range []string{`{"a":[1,{"b":"x,[{\\\"]"}],"c":[]}`, `[[],[[]],{}]`, `"[[["`} {
		if got := len(Pretty(value)); layoutSize(value) < got-8 {
			t.Errorf("%s: %d bytes, and %d were expected", value, got, layoutSize(value))
		}
	}
}
