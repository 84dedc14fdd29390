package console

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/durationpb"
)

// TestQuote: a shell reads the words that a command was made of.
func TestQuote(t *testing.T) {
	words := []string{"", "plain", "a/b.c-d_e@42", "two words", "it's", `"double"`, "$HOME `id` $(id)", "*", "~", "#", "a\nb", "\\", "!", "-m", "ключ", "a;b|c&d>e<f(g)", "=x", "%1"}
	script := strings.TrimPrefix(command(words).String(), "stele ")
	out, err := exec.CommandContext(t.Context(), "sh", "-c", `printf '%s\0' `+script).Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"); strings.Join(got, "|") != strings.Join(words, "|") {
		t.Errorf("the shell reads %q", got)
	}
}

func TestVisible(t *testing.T) {
	for text, want := range map[string]string{
		"plain, ünïcode 漢字 🙂":       "plain, ünïcode 漢字 🙂",
		"two\nlines\tand a tab":     "two\nlines\tand a tab",
		"a\u202egnp.exe":            `a\u202egnp.exe`,
		"\u2066x\u2069":             `\u2066x\u2069`,
		"zero\u200bwidth\ufeff":     `zero\u200bwidth\ufeff`,
		"\x1b[31mred\x00\x7f\u0085": `\u001b[31mred\u0000\u007f\u0085`,
	} {
		if got := visible(text); got != want {
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
		if got := pretty(value); got != want {
			t.Errorf("%s is shown as %s", value, got)
		}
	}
}

func TestBegin(t *testing.T) {
	if s, cut := begin("äöü", 3); s != "ä" || !cut {
		t.Errorf("%q, %v", s, cut)
	}
	if s, cut := begin("äöü", 6); s != "äöü" || cut {
		t.Errorf("%q, %v", s, cut)
	}
}

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

func TestChangeOf_OneMemberOfALargeObject(t *testing.T) {
	var b strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&b, `"member%05d":"value %d",`, i, i)
	}
	c := changeOf("a/k", "{"+b.String()+`"z":1}`, "{"+b.String()+`"z":2}`)
	if len(c.places) != 1 || c.places[0].Path != "/z" || string(c.places[0].Was) != "1" {
		t.Errorf("%d places of %d bytes", len(c.places), b.Len())
	}
}

func TestCompact(t *testing.T) {
	value := `{"list":[` + strings.TrimSuffix(strings.Repeat(`"x",`, 120_000), ",") + `]}`
	if got := compact(pretty(value)); got != value {
		t.Errorf("%d bytes became %d in the form's layout and then %d", len(value), len(pretty(value)), len(got))
	}
	if got := compact(`{"a": }`); got != `{"a": }` {
		t.Errorf("text that is not JSON became %q", got)
	}
}

func TestAgo(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "just now", time.Second: "just now", 12 * time.Second: "12 s ago", time.Minute: "1 minute ago",
		90 * time.Minute: "1 hour ago", 50 * time.Hour: "2 days ago", 400 * 24 * time.Hour: "1 year ago",
	} {
		if got := ago(d); got != want {
			t.Errorf("%s is %q and not %q", d, got, want)
		}
	}
}

func TestSpread(t *testing.T) {
	for head, want := range map[uint64][]uint64{0: nil, 1: {1}, 2: {1, 2}, 5: {1, 2, 3, 4, 5}, 101: {1, 26, 51, 76, 101}} {
		got := spread(head)
		if len(got) != len(want) {
			t.Fatalf("%d: %v", head, got)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%d: %v", head, got)
			}
		}
	}
}

func TestPieces(t *testing.T) {
	var links []string
	text := ""
	for _, p := range pieces("a/b@: @7 changed it after @3, <b>") {
		text += p.text
		if p.revision != "" {
			links = append(links, p.revision)
		}
	}
	if text != "a/b@: @7 changed it after @3, <b>" || strings.Join(links, " ") != "7 3" {
		t.Errorf("%q, %v", text, links)
	}
}

func TestSinksIn(t *testing.T) {
	const document = `{"sinks":{"a":{},"b":{}},"routes":[{"prefix":"","sinks":["a"]},{"prefix":"param","sinks":["b"]},{"prefix":"param/none/","sinks":[]}]}`
	for key, want := range map[string]string{"x/y": "a", "param/x": "b", "parameters/x": "b", "param/none/x": ""} {
		if names, known := sinksIn(document, key); !known || strings.Join(names, ",") != want {
			t.Errorf("%s goes to %v, %v", key, names, known)
		}
	}
	if _, known := sinksIn("", "x/y"); known {
		t.Error("without a document the sinks are known")
	}
}

// TestLateBy: pages warn of a gateway that has not heard from the journal, or has
// stopped following it.
func TestLateBy(t *testing.T) {
	for _, c := range []struct {
		snapshot *stelev1.Snapshot
		want     string
	}{
		{nil, ""}, {&stelev1.Snapshot{}, ""}, {&stelev1.Snapshot{Age: durationpb.New(2 * time.Second)}, ""},
		{&stelev1.Snapshot{Age: durationpb.New(12 * time.Second)}, "12 s"}, {&stelev1.Snapshot{Age: durationpb.New(time.Second), Stale: true}, "1 s"},
	} {
		if got := lateBy(&stelev1.GetHeadResponse{Snapshot: c.snapshot}); got != c.want {
			t.Errorf("%v: %q", c.snapshot, got)
		}
	}
}

// A value that is nested deep, or has many elements deep inside, does not grow by its
// layout: it is shown as it is.
func TestPretty_IsBoundedBeforeItAllocates(t *testing.T) {
	deep := strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000)
	many := strings.Repeat("[", 99) + strings.Repeat("1,", 100_000) + "1" + strings.Repeat("]", 99)
	for name, value := range map[string]string{"deep": deep, "many": many} {
		if got := pretty(value); got != value {
			t.Errorf("%s: %d bytes became %d", name, len(value), len(got))
		}
		if n := testing.AllocsPerRun(1, func() { pretty(value) }); n > 10 {
			t.Errorf("%s: %v allocations", name, n)
		}
		if shown := wholeValue(value); len(shown) > longValue+100 {
			t.Errorf("%s: %d bytes are shown", name, len(shown))
		}
	}
	for _, value := range []string{`{"a":[1,{"b":"x,[{\\\"]"}],"c":[]}`, `[[],[[]],{}]`, `"[[["`} {
		if got := len(pretty(value)); layoutSize(value) < got-8 {
			t.Errorf("%s: %d bytes, and %d were expected", value, got, layoutSize(value))
		}
	}
}

// A page ends when it is too long, and when its visitor has left.
func TestBoundedPage(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	b := &boundedPage{ctx: ctx}
	if _, err := b.Write(make([]byte, maxPage)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.WriteString("x"); err == nil {
		t.Error("a page grows beyond the longest")
	}
	cancel()
	if _, err := (&boundedPage{ctx: ctx}).WriteString("x"); !errors.Is(err, context.Canceled) {
		t.Errorf("a page without its visitor: %v", err)
	}
	v := &visit{Console: &Console{rendering: make(chan struct{})}, r: httptest.NewRequestWithContext(ctx, "GET", "/", nil)}
	if _, err := v.make(nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a visitor that has left while it waits: %v", err)
	}
}
