package output

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"charm.land/lipgloss/v2"
)

func TestTable_AlignsAndClips(t *testing.T) {
	rows := [][]string{{"a/b", `"a long value"`, "@7"}, {"a/bcd", "ü", "@12"}}
	for width, want := range map[int]string{
		0:  "KEY    VALUE           REVISION\na/b    \"a long value\"  @7\na/bcd  ü               @12\n",
		25: "KEY    VALUE     REVISION\na/b    \"a long…  @7\na/bcd  ü         @12\n",
		5:  "KEY    VALUE  REVISION\na/b    \"a l…  @7\na/bcd  ü      @12\n",
	} {
		var b bytes.Buffer
		p := NewPrinter(&b, Text)
		p.width = width
		if err := p.Table([]string{"KEY", "VALUE", "REVISION"}, rows, 1); err != nil {
			t.Fatal(err)
		}
		if b.String() != want {
			t.Errorf("in %d columns:\n%s\nwant\n%s", width, b.String(), want)
		}
	}
}

func TestTable_LongKeysAreCutInTheMiddle(t *testing.T) {
	rows := [][]string{
		{"tenantconfig/checkout/payment/providers/very-long-name/settings/timeout_ms", "@7", "3000"},
		{"a/b", "@12", `"` + strings.Repeat("x", 200) + `"`},
	}
	for _, width := range []int{40, 80, 120} {
		var b bytes.Buffer
		p := NewPrinter(&b, Text)
		p.width = width
		if err := p.Table([]string{"KEY", "REVISION", "VALUE"}, rows, 2); err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(strings.TrimSuffix(b.String(), "\n"), "\n") {
			if n := lipgloss.Width(line); n > width {
				t.Errorf("in %d columns a line has %d:\n%s", width, n, line)
			}
		}
		if got := b.String(); !strings.Contains(got, "tenan") || !strings.Contains(got, "out_ms") || !strings.Contains(got, "3000") {
			t.Errorf("in %d columns:\n%s", width, got)
		}
	}
	if got := middle("abcdefghij", 5); got != "ab…ij" {
		t.Errorf("the middle of abcdefghij is cut to %q", got)
	}
}

func TestObjects_NumbersAreExact(t *testing.T) {
	v := struct {
		Key   string          `json:"key"`
		Value json.RawMessage `json:"value"`
	}{"a/b", json.RawMessage(`{"n":[1.0,9007199254740993,1e3],"s":"<yes>"}`)}
	for format, want := range map[Format]string{
		JSON: "{\"key\":\"a/b\",\"value\":{\"n\":[1.0,9007199254740993,1e3],\"s\":\"<yes>\"}}\n",
		YAML: "key: \"a/b\"\nvalue:\n  n:\n    - 1.0\n    - 9007199254740993\n    - 1e3\n  s: \"<yes>\"\n",
	} {
		var b bytes.Buffer
		p := NewPrinter(&b, format)
		if err := p.Object(v); err != nil || b.String() != want {
			t.Errorf("%s: %v\n%s", format, err, b.String())
		}
		b.Reset()
		if err := p.Object(v); err != nil {
			t.Fatal(err)
		}
		if format == YAML {
			want = "---\n" + want
		}
		if b.String() != want {
			t.Errorf("second %s:\n%s", format, b.String())
		}
	}
}
