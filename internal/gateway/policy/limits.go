package policy

import (
	"errors"
	"fmt"
	"math"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/strictjson"
)

// limits are a tenant's rate limits and quotas on each gateway, the value of policy/<tenant>/limits, or
// of policy/limits for every tenant without its own:
//
//	{"requests_per_second":500,"burst":2000,"bytes_per_second":10000000,"change_sets_per_second":50,"watches":1000}
//
// An absent field is 0 here, and not limited. Limits do not apply to operators, who
// write them.
type limits struct {
	// requests per second, and the burst. A call and each request of a stream count as one.
	requests, burst float64
	// bytes per second of requests and answers together.
	bytes float64
	// changeSets per second.
	changeSets float64
	// watches that are open at the same time.
	watches int64
}

// maxTenantWatches is the number of open watches that a tenant may have if its limits do not
// set one: each takes about a kilobyte.
const maxTenantWatches = 100_000

// maxLimit is the largest limit, in its own unit: a larger number would limit nothing.
const maxLimit = 1e12

// parseLimits reads the limits. Unknown fields are errors, because they may be
// misspelled limits.
func parseLimits(value ledger.Value) (limits, error) {
	if value == "null" {
		return limits{}, errors.New("it is not an object")
	}
	var doc struct {
		Requests   *float64 `json:"requests_per_second"`
		Burst      *float64 `json:"burst"`
		Bytes      *float64 `json:"bytes_per_second"`
		ChangeSets *float64 `json:"change_sets_per_second"`
		Watches    *float64 `json:"watches"`
	}
	if err := strictjson.Unmarshal([]byte(value), &doc, "it must be an object"); err != nil {
		return limits{}, err
	}
	var l limits
	var watches float64
	for _, f := range []struct {
		name   string
		from   *float64
		to     *float64
		number bool // a whole one
	}{
		{"requests_per_second", doc.Requests, &l.requests, false},
		{"burst", doc.Burst, &l.burst, true},
		{"bytes_per_second", doc.Bytes, &l.bytes, false},
		{"change_sets_per_second", doc.ChangeSets, &l.changeSets, false},
		{"watches", doc.Watches, &watches, true},
	} {
		switch {
		case f.from == nil:
		case !(*f.from > 0) || *f.from > maxLimit:
			return limits{}, fmt.Errorf("%s: %v: it must be more than 0 and at most %g; leave it out for no limit", f.name, *f.from, maxLimit)
		case f.number && *f.from != math.Trunc(*f.from):
			return limits{}, fmt.Errorf("%s: %v is not a whole number", f.name, *f.from)
		default:
			*f.to = *f.from
		}
	}
	l.watches = int64(watches)
	if l.burst > 0 && l.requests == 0 {
		return limits{}, errors.New(`"burst" needs "requests_per_second"`)
	}
	return l, nil
}
