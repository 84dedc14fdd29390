package secretsmanager

import (
	"math"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
)

func TestVersion(t *testing.T) {
	e := ledger.Epoch{0x14, 0xc5, 0x5d, 0x38, 0x97, 0x91, 0x6f, 0x93}
	for _, v := range []version{{e, 42, true}, {e, 1, false}, {ledger.Epoch{}, math.MaxUint64, true}} {
		for _, id := range []string{v.id(), v.another()} {
			if got, ok := parseVersion(id); !ok || got != v || len(id) < 32 || len(id) > 64 {
				t.Errorf("%s is read as %v, %v", id, got, ok)
			}
		}
	}
}

func FuzzParseVersion(f *testing.F) {
	f.Add("stele-14c55d3897916f93-00000000000000000042-string")
	f.Add("stele-14c55d3897916f93-00000000000000000042-json-abcdef")
	f.Add("6b1f0c9e-5d7a-4b8e-93d2-c1f0a5b4c3d2")
	f.Fuzz(func(t *testing.T, id string) {
		v, ok := parseVersion(id)
		if ok && id != v.id() && id[:len(id)-7] != v.id() {
			t.Fatalf("%q is read as %v", id, v)
		}
	})
}
