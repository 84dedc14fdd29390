package gateway

import (
	"github.com/stelehq/stele/gateway/policy"
	"github.com/stelehq/stele/ledger"
)

// ReadLog keeps the records of reads.
type ReadLog = policy.ReadLog

// CheckPolicies is a ledger's Config.Check: it refuses policies that are not valid.
func CheckPolicies(t ledger.Tenant, changes []ledger.Change) error {
	return policy.Check(t, changes)
}
