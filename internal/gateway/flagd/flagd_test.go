package flagd_test

import (
	"encoding/json"
	"testing"

	"github.com/stelehq/stele/internal/gateway/flagd"
)

func TestDocument(t *testing.T) {
	full := `{"state":"ENABLED","variants":{"a":1.0,"b":2},"defaultVariant":"a","targeting":{}}`
	static := func(v string) string {
		return `{"state":"ENABLED","variants":{"static":` + v + `},"defaultVariant":"static"}`
	}
	cases := []struct{ name, value, flag string }{
		{"a definition", full, full},
		{"without a default", `{"state":"DISABLED","variants":{}}`, `{"state":"DISABLED","variants":{}}`},
		{"with the caller's default", `{"state":"ENABLED","variants":{"a":1},"defaultVariant":null}`, `{"state":"ENABLED","variants":{"a":1},"defaultVariant":null}`},
		{"true", "true", static("true")},
		{"an exact number", "9007199254740993", static("9007199254740993")},
		{"an object", `{"state":"ENABLED"}`, static(`{"state":"ENABLED"}`)},
		{"null", "null", ""},
		{"an invalid state", `{"state":"ON","variants":{}}`, ""},
		{"invalid variants", `{"state":"ENABLED","variants":[]}`, ""},
		{"variants that are null", `{"state":"ENABLED","variants":null}`, ""},
		{"a default that is no variant", `{"state":"ENABLED","variants":{"a":1},"defaultVariant":"b"}`, ""},
		{"a default that is no name", `{"state":"ENABLED","variants":{"a":1},"defaultVariant":1}`, ""},
	}
	for _, c := range cases {
		d := flagd.New("flags/")
		d.Add("flags/before", "1")
		d.Add("flags/x/y", c.value)
		want := `{"flags":{"before":` + static("1")
		if c.flag != "" {
			want += `,"x/y":` + c.flag
		}
		if got := d.String(); got != want+"}}" || !json.Valid([]byte(got)) {
			t.Errorf("%s: %s, want %s}}", c.name, got, want)
		}
	}
}

func TestPrefix(t *testing.T) {
	for selector, want := range map[string]string{"": "flags/", "flags/web": "flags/web/", "web/": "web/", "a b": "error", "flagSetId=web": "error"} {
		got, err := flagd.Prefix(selector)
		if err != nil {
			got = "error"
		}
		if string(got) != want {
			t.Errorf("%q: %q, %v, want %q", selector, got, err, want)
		}
	}
}

func FuzzDocument(f *testing.F) {
	f.Add(`true`)
	f.Add(`{"state":"ENABLED","variants":{"a":1},"defaultVariant":"a"}`)
	f.Add(`{"state":null,"variants":{"a":1},"defaultVariant":"a"}`)
	f.Fuzz(func(t *testing.T, value string) {
		if !json.Valid([]byte(value)) { // the ledger keeps no such
			return
		}
		d := flagd.New("flags/")
		d.Add("flags/a", value)
		d.Add("flags/b", "1")
		var doc struct{ Flags map[string]json.RawMessage }
		if err := json.Unmarshal([]byte(d.String()), &doc); err != nil || doc.Flags["b"] == nil {
			t.Errorf("%s: %s: %v", value, d, err)
		}
	})
}
