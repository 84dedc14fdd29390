package changefile

import (
	"testing"

	"github.com/stelehq/stele/internal/ledger"
)

func FuzzParse(f *testing.F) {
	f.Add("message: why\nchanges:\n  - key: a/b\n    value: {x: 1, y: [yes, 0x10]}\n  - key: c\n    delete: true\nexpect:\n  a/b: 3\n  c: absent\n")
	f.Add("{\"key\":\"a\",\"value\":1}\n{\"key\":\"b\",\"value\":\"***\"}\n")
	f.Add("a: &a [*a]\n")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := Parse([]byte(text))
		if err != nil {
			return
		}
		for _, ch := range file.Changes {
			if _, err := ledger.ParseKey(string(ch.Key)); err != nil {
				t.Errorf("%q: the key %q: %v", text, ch.Key, err)
			}
			if ch.Value != "" {
				if _, err := ledger.ParseValue(string(ch.Value)); err != nil {
					t.Errorf("%q: the value of %s: %v", text, ch.Key, err)
				}
			}
		}
	})
}
