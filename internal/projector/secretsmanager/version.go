package secretsmanager

import (
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
)

// version is what the ID of a version says, for example
//
//	stele-14c55d3897916f93-00000000000000000042-string
//
// for what revision 42 of its tenant set in the ledger with that epoch. IDs have 32 to 64
// characters. One that was made a second time for a revision ends with "-" and six random
// letters: IDs are not used again for another value.
type version struct {
	epoch    ledger.Epoch
	revision ledger.Revision
	// text is set if the value is a string. Otherwise the secret is the value's JSON.
	text bool
}

func (v version) id() string {
	kind := "json"
	if v.text {
		kind = "string"
	}
	return fmt.Sprintf("stele-%s-%020d-%s", v.epoch, v.revision, kind)
}

// another is an ID for the same revision that was not used before.
func (v version) another() string { return v.id() + "-" + strings.ToLower(rand.Text()[:6]) }

// parseVersion reads what id and another make; any other version is another program's.
func parseVersion(id string) (v version, ok bool) {
	parts := strings.Split(id, "-")
	if len(parts) != 4 && len(parts) != 5 {
		return version{}, false
	}
	var err error
	if v.epoch, err = ledger.ParseEpoch(parts[1]); err != nil {
		return version{}, false
	}
	if _, err := fmt.Sscanf(parts[2], "%d", &v.revision); err != nil {
		return version{}, false
	}
	v.text = parts[3] == "string"
	if v.revision == 0 || v.id() != strings.Join(parts[:4], "-") || len(parts) == 5 && len(parts[4]) != 6 {
		return version{}, false
	}
	return v, true
}
