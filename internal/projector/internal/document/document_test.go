package document_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector/internal/document"
)

var (
	epoch = ledger.Epoch{1, 2, 3, 4, 5, 6, 7, 8}
	other = ledger.Epoch{8, 7, 6, 5, 4, 3, 2, 1}
)

func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want document.Document // nil: an error
	}{
		"empty object":      {`{}`, document.Document{}},
		"without a mark":    {`{"a": 1.0}`, document.Document{"a": {Value: "1.0"}}},
		"with one":          {`{"a": 1, "b": "x", "$stele": {"epoch": "0102030405060708", "revisions": {"a": 7}}}`, document.Document{"a": {"1", 7}, "b": {Value: `"x"`}}},
		"another ledger's":  {`{"a": 1, "$stele": {"epoch": "0807060504030201", "revisions": {"a": 7}}}`, document.Document{"a": {Value: "1"}}},
		"an edited mark":    {`{"a": 1, "$stele": "by hand"}`, document.Document{"a": {Value: "1"}}},
		"a negative number": {`{"a": 1, "$stele": {"epoch": "0102030405060708", "revisions": {"a": -7}}}`, document.Document{"a": {Value: "1"}}},
		"nothing":           {``, nil},
		"an array":          {`[1]`, nil},
		"a name twice":      {`{"a": 1, "a": 2}`, nil},
		"YAML":              {"a: 1\n", nil},
		"more behind it":    {`{} {}`, nil},
	} {
		d, err := document.Parse([]byte(c.text), epoch)
		if (err != nil) != (c.want == nil) || !maps.Equal(d, c.want) {
			t.Errorf("%s: %v, %v, want %v", name, d, err, c.want)
		}
	}
}

// FuzzParse: what can be parsed is encoded to the same document, as valid JSON of the
// predicted size, and only for its own ledger.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"a": 1, "ü\n": {"b": [9007199254740993]}, "$stele": {"epoch": "0102030405060708", "revisions": {"a": 7}}}`))
	f.Add([]byte(`{"$stele": 1, "": null}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		d, err := document.Parse(content, epoch)
		if err != nil {
			return
		}
		encoded := d.Encode(epoch)
		if !jsontext.Value(encoded).IsValid() {
			t.Fatalf("%q is encoded as %q", content, encoded)
		}
		size := document.Overhead
		for name, is := range d {
			size += document.Size(name, is)
		}
		if size < len(encoded) || size > len(encoded)+1 { // the first revision has no comma before it
			t.Errorf("the size of %q is predicted as %d, and is %d", encoded, size, len(encoded))
		}
		again, err := document.Parse(encoded, epoch)
		if err != nil || !maps.Equal(again, d) {
			t.Errorf("%q is read back as %v, %v", encoded, again, err)
		}
		foreign, err := document.Parse(encoded, other)
		if err != nil {
			t.Error(err)
		}
		for name, is := range foreign {
			if is.Revision != 0 {
				t.Errorf("another ledger's %q counts as revision %s", name, is.Revision)
			}
		}
	})
}

// Any program can read the document: values stay as they were committed.
func TestEncode_IsJSONWithExactValues(t *testing.T) {
	d := document.Document{"b/c": {`9007199254740993`, 2}, "a": {`"ü"`, 1}, "hand": {`1.50`, 0}}
	text := string(d.Encode(epoch))
	var members map[string]jsontext.Value
	if err := json.Unmarshal([]byte(text), &members); err != nil {
		t.Fatal(err)
	}
	if string(members["b/c"]) != "9007199254740993" || string(members["hand"]) != "1.50" || strings.Contains(text, `"hand":0`) {
		t.Errorf("%s", text)
	}
}
