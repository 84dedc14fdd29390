// Package reason reads the machine-readable reasons of errors, which servers send as ErrorInfo.
// Package apierror chooses them.
package reason

import (
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

// Reasons that programs act on.
const (
	// HistoryChanged: the ledger has another commit than the one that the caller has seen.
	HistoryChanged = "HISTORY_CHANGED"
	// PreconditionFailed: a key or the head is at another revision than expected.
	PreconditionFailed = "PRECONDITION_FAILED"
	// UpstreamBehind: an edge has commits that its upstream does not have yet.
	UpstreamBehind = "UPSTREAM_BEHIND"
	// SplitView: two checkpoints of a ledger contradict each other.
	SplitView = "SPLIT_VIEW"
	// TenantNotServed: the gateway does not hold the tenant.
	TenantNotServed = "TENANT_NOT_SERVED"
	// AnswerTooLarge: one answer cannot hold what was asked for.
	AnswerTooLarge = "ANSWER_TOO_LARGE"
)

// Of returns the reason of an error; empty if it has none.
func Of(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.Reason
		}
	}
	return ""
}
