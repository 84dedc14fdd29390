// Package apierror maps errors to gRPC status codes and details, in one function, and
// holds the errors that the gateway's services share.
package apierror

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"buf.build/go/protovalidate"
	"github.com/stelehq/stele/internal/budget"
	"github.com/stelehq/stele/internal/gateway/conn"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/gateway/reason"
	"github.com/stelehq/stele/internal/gateway/replication"
	"github.com/stelehq/stele/internal/gateway/share"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
	"github.com/stelehq/stele/internal/ledger/secret"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// errorDomain is ErrorInfo's domain for every reason that Stele gives.
const errorDomain = "stele"

// StatusOf turns any error into the status for a client: a code, a message that says
// what to do, and details for programs. It is the only place that chooses codes.
// Unknown errors stay internal: the client gets a message that the error was logged.
func StatusOf(log *slog.Logger, method string, err error) error {
	if err == nil {
		return nil
	}
	var (
		invalid  *ledger.InvalidError
		rules    *protovalidate.ValidationError
		conflict *ledger.ConflictError
		later    *ledger.RevertError
		outside  *ledger.RangeError
		changed  *ledger.HistoryChangedError
		notKept  *ledger.HistoryError
		reused   *ledger.RequestError
		attach   *ledger.AttachError
		edge     *NoWritesError
		over     *policy.OverLimitError
		split    *proof.SplitViewError
		reveal   *ledger.RevealError
		clock    *ledger.ClockError
		ahead    *ledger.AheadError
		memory   *budget.ExhaustedError
		full     *share.FullError
	)
	switch {
	case errors.As(err, &invalid):
		return build(codes.InvalidArgument, err.Error(), badRequest(invalid.Violations))
	case errors.As(err, &rules):
		v := ruleViolations(rules)
		return build(codes.InvalidArgument, (&ledger.InvalidError{Violations: v}).Error(), badRequest(v))
	case errors.As(err, &conflict):
		return build(codes.FailedPrecondition, err.Error(), preconditionFailure(conflict), info(reason.PreconditionFailed))
	case errors.As(err, &ahead):
		return build(codes.FailedPrecondition, err.Error(), info("TENANT_AHEAD", "revision", strconv.FormatUint(uint64(ahead.Head), 10), "time", ahead.Time.UTC().Format(time.RFC3339Nano)))
	case errors.As(err, &clock):
		return build(codes.Unavailable, err.Error(), info("CLOCK", "ahead_seconds", strconv.FormatInt(int64(clock.Ahead/time.Second), 10)), &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)})
	case errors.As(err, &reused):
		return build(codes.AlreadyExists, err.Error(), info("REQUEST_ID_REUSED", "request_id", reused.RequestID, "revision", strconv.FormatUint(uint64(reused.Revision), 10)))
	case errors.As(err, &later):
		return build(codes.FailedPrecondition, err.Error(), laterCommits(later), info("CHANGED_SINCE", "later", laterRevisions(later)))
	case errors.As(err, &outside):
		return build(codes.OutOfRange, err.Error(), info("NO_SUCH_MOMENT", "head", strconv.FormatUint(uint64(outside.Head), 10)))
	case errors.As(err, &notKept):
		return build(codes.OutOfRange, err.Error(), info("HISTORY_NOT_KEPT", "first", strconv.FormatUint(uint64(notKept.First), 10),
			"first_time", notKept.FirstTime.UTC().Format(time.RFC3339Nano), "upstream", notKept.Upstream))
	case errors.Is(err, identity.ErrUnauthenticated):
		return build(codes.Unauthenticated, err.Error(), info("UNAUTHENTICATED"))
	case errors.As(err, &attach):
		return build(codes.PermissionDenied, err.Error(), info("BASE_NOT_ALLOWED", "base", string(attach.Base)))
	case errors.Is(err, policy.ErrDenied), errors.As(err, &reveal):
		return build(codes.PermissionDenied, err.Error(), info("PERMISSION_DENIED"))
	case errors.Is(err, ErrNotServed):
		return build(codes.FailedPrecondition, err.Error(), info(reason.TenantNotServed))
	case errors.As(err, &changed):
		return build(codes.FailedPrecondition, err.Error(), info(reason.HistoryChanged, "revision", strconv.FormatUint(uint64(changed.Revision), 10)))
	case errors.Is(err, ErrHistoryChanged), errors.Is(err, replication.ErrHistoryChanged):
		return build(codes.FailedPrecondition, err.Error(), info(reason.HistoryChanged))
	case errors.Is(err, ErrNoTree):
		return build(codes.FailedPrecondition, err.Error(), info("NO_TREE"))
	case errors.Is(err, ErrNoWitnesses):
		return build(codes.FailedPrecondition, err.Error(), info("NO_WITNESSES"))
	case errors.As(err, &split):
		return build(codes.FailedPrecondition, err.Error(), info(reason.SplitView, "checkpoint", split.Ours))
	case errors.Is(err, proof.ErrStopped):
		return build(codes.FailedPrecondition, err.Error(), info("TREE_STOPPED"))
	case errors.Is(err, proof.ErrInvalid):
		return build(codes.InvalidArgument, err.Error(), info("CHECKPOINT_INVALID"))
	case errors.Is(err, proof.ErrNotCovered):
		return build(codes.OutOfRange, err.Error(), info("NOT_COVERED"))
	case errors.Is(err, proof.ErrNoSuchSize):
		return build(codes.OutOfRange, err.Error(), info("NO_SUCH_TREE"))
	case errors.Is(err, ErrDiffers):
		log.Error("replica and tree contradict each other", "method", method, "error", err)
		return build(codes.DataLoss, err.Error(), info("NOT_WHAT_WAS_HASHED"))
	case errors.Is(err, secret.ErrNoKEK):
		return build(codes.FailedPrecondition, err.Error(), info("NO_KEY_FOR_SECRETS"))
	case errors.Is(err, secret.ErrDestroyed):
		return build(codes.FailedPrecondition, err.Error(), info("SECRET_DESTROYED"))
	case errors.Is(err, secret.ErrAltered):
		log.Error("an encrypted value does not decrypt", "method", method, "error", err)
		return build(codes.DataLoss, err.Error(), info("SECRET_ALTERED"))
	case errors.As(err, &over):
		return build(codes.ResourceExhausted, err.Error(), info("OVER_LIMIT", "limit", over.Limit), &errdetails.RetryInfo{RetryDelay: durationpb.New(over.Wait)},
			&errdetails.QuotaFailure{Violations: []*errdetails.QuotaFailure_Violation{{Subject: string(over.Tenant), Description: over.Of}}})
	case errors.As(err, &memory):
		return build(codes.ResourceExhausted, err.Error(), info("NO_MEMORY", "share", memory.Share), &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)})
	case errors.As(err, &full):
		return build(codes.ResourceExhausted, err.Error(), info("SHARE_FULL", "share", full.Uses), &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)})
	case errors.Is(err, ErrTooLarge):
		return build(codes.ResourceExhausted, err.Error(), info(reason.AnswerTooLarge))
	case errors.Is(err, policy.ErrNotRecorded):
		return build(codes.Unavailable, err.Error(), info("NOT_RECORDED"), &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)})
	case errors.Is(err, ledger.ErrNotFound):
		return build(codes.NotFound, err.Error(), info("NOT_FOUND"))
	case errors.As(err, &edge):
		return build(codes.FailedPrecondition, err.Error(), info("READ_ONLY", "write_to", edge.WriteTo))
	case errors.Is(err, replication.ErrBehind):
		return build(codes.Unavailable, err.Error(), info(reason.UpstreamBehind), &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)})
	case errors.Is(err, replication.ErrCycle):
		return build(codes.FailedPrecondition, err.Error(), info("REPLICATION_CYCLE"))
	case errors.Is(err, replication.ErrPruned):
		return build(codes.OutOfRange, err.Error(), info("HISTORY_NOT_KEPT"))
	case errors.Is(err, ledger.ErrReadOnly):
		return build(codes.FailedPrecondition, err.Error(), info("READ_ONLY"))
	case errors.Is(err, ledger.ErrNoSpace):
		return build(codes.Unavailable, err.Error(), info("NO_SPACE"), &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)})
	case errors.Is(err, ledger.ErrUnknownOutcome):
		code := codes.Unavailable
		if errors.Is(err, context.DeadlineExceeded) {
			code = codes.DeadlineExceeded
		}
		return build(code, err.Error(), info("OUTCOME_UNKNOWN"))
	case errors.Is(err, ledger.ErrAborted):
		return build(codes.Aborted, err.Error(), info("ABORTED"))
	case errors.Is(err, ErrBehind), errors.Is(err, ledger.ErrUnavailable):
		return build(codes.Unavailable, err.Error(), info("UNAVAILABLE"), &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)})
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	}
	if s, ok := status.FromError(err); ok {
		return s.Err()
	}
	log.Error("internal error", "method", method, "error", err)
	return status.Error(codes.Internal, "internal error: the gateway's log has the details")
}

var (
	// ErrNotServed: --tenants leaves the tenant out.
	ErrNotServed = errors.New("this gateway does not hold the tenant")
	// ErrHistoryChanged: the journal is not the one that a position is from, or it was cut.
	ErrHistoryChanged = errors.New("the history has changed")
	// ErrTooLarge: one answer cannot hold what was asked for.
	ErrTooLarge = errors.New("the answer is too large")
	// ErrBehind: min_revision did not arrive in time.
	ErrBehind = errors.New("the gateway is behind")
	// ErrNoTree: the call needs the tree of a signer.
	ErrNoTree = errors.New("this gateway keeps no tree: ask one that runs the role signer")
	// ErrNoWitnesses: a caller requires more cosignatures than the gateway asks for.
	ErrNoWitnesses = errors.New("this gateway asks fewer witnesses to cosign checkpoints")
	// ErrDiffers: replica and tree have seen different commits.
	ErrDiffers = errors.New("the replica does not hold what was hashed")
)

func build(code codes.Code, message string, details ...protoadapt.MessageV1) error {
	s := status.New(code, message)
	if with, err := s.WithDetails(details...); err == nil { // fails for codes.OK only
		s = with
	}
	return s.Err()
}

func info(why string, kv ...string) *errdetails.ErrorInfo {
	e := &errdetails.ErrorInfo{Reason: why, Domain: errorDomain}
	for i := 0; i+1 < len(kv); i += 2 {
		if e.Metadata == nil {
			e.Metadata = make(map[string]string)
		}
		e.Metadata[kv[i]] = kv[i+1]
	}
	return e
}

func badRequest(violations []ledger.Violation) *errdetails.BadRequest {
	b := &errdetails.BadRequest{}
	for _, v := range violations {
		b.FieldViolations = append(b.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: v.Field, Description: v.Description})
	}
	return b
}

// ruleViolations are violations of the constraints in the schema. One request can have
// a thousand: a few are enough to fix it.
func ruleViolations(e *protovalidate.ValidationError) []ledger.Violation {
	var out []ledger.Violation
	for _, v := range e.Violations[:min(len(e.Violations), ledger.MaxViolations)] {
		field := protovalidate.FieldPathString(v.Proto.GetField())
		if field == "" {
			field = "request"
		}
		out = append(out, ledger.Violation{Field: field, Description: v.Proto.GetMessage()})
	}
	return out
}

func preconditionFailure(e *ledger.ConflictError) *errdetails.PreconditionFailure {
	f := &errdetails.PreconditionFailure{}
	for _, c := range e.Conflicts {
		v := &errdetails.PreconditionFailure_Violation{Type: "KEY_REVISION", Subject: string(c.Key), Description: c.String()}
		if c.Key == "" {
			v.Type, v.Subject = "HEAD", string(e.Tenant)
		}
		f.Violations = append(f.Violations, v)
	}
	return f
}

func laterCommits(e *ledger.RevertError) *errdetails.PreconditionFailure {
	f := &errdetails.PreconditionFailure{}
	for _, c := range e.Conflicts {
		f.Violations = append(f.Violations, &errdetails.PreconditionFailure_Violation{Type: "LATER_COMMIT", Subject: string(c.Key), Description: c.String()})
	}
	return f
}

// laterRevisions are the commits that block a revert, one for each violation.
func laterRevisions(e *ledger.RevertError) string {
	revisions := make([]string, len(e.Conflicts))
	for i, c := range e.Conflicts {
		revisions[i] = strconv.FormatUint(uint64(c.Later), 10)
	}
	return strings.Join(revisions, ",")
}

// Indexed names which change set of a stream an error is about, from 0.
func Indexed(err error, index int) error {
	s, _ := status.FromError(err)
	with, failed := s.WithDetails(info("STREAM_STOPPED", "index", strconv.Itoa(index)))
	if failed != nil {
		return err
	}
	return with.Err()
}

// ErrManyBytes is the violation of a read whose keys have too many bytes.
var ErrManyBytes = ledger.Invalid("keys", fmt.Sprintf("the values have more than %d bytes together: ask for fewer keys at a time", conn.MaxMessage))

// NoWritesError is an edge's answer to a write.
type NoWritesError struct{ WriteTo string }

func (e *NoWritesError) Error() string {
	return fmt.Sprintf("%v: this gateway is an edge; write to its upstream %s, or start it with --forward-writes", ledger.ErrReadOnly, e.WriteTo)
}

func (e *NoWritesError) Unwrap() error { return ledger.ErrReadOnly }
