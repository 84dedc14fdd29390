package session

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stelehq/stele/cmd/stele/internal/changefile"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/cmd/stele/internal/version"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/wire"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// WriteFlags are those of every command that writes.
type WriteFlags struct {
	message, requestID string
	expect             []string
	allowInvalid       bool
	allowEmpty         bool
}

// Add defines the flags of a command.
func (w *WriteFlags) Add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&w.message, "message", "m", "", "reason for the change, shown in the history")
	flags.StringArrayVar(&w.expect, "expect", nil, "KEY=REV: only if REV last set the key; KEY=absent: only if it is not set")
	flags.BoolVar(&w.allowInvalid, "allow-invalid", false, "set schemas even if current values violate them; those values stay")
	flags.BoolVar(&w.allowEmpty, "allow-empty", false, "write a commit even if it changes nothing")
	flags.StringVar(&w.requestID, "request-id", "", "idempotency key: a repeated request gets the first one's outcome")
}

// Into applies the flags to a change set.
func (w *WriteFlags) Into(cs *ledger.ChangeSet) error {
	if w.message != "" {
		cs.Message = w.message
	}
	cs.RequestID, cs.AllowInvalid, cs.AllowEmpty = w.requestID, w.allowInvalid, w.allowEmpty
	for _, e := range w.expect {
		name, rev, ok := strings.Cut(e, "=")
		if !ok {
			return failure.Usagef("--expect %s: write KEY=REV or KEY=absent", e)
		}
		key, err := ledger.ParseKey(name)
		if err != nil {
			return failure.With(failure.Invalid, fmt.Errorf("--expect: %w", err))
		}
		p := ledger.Precondition{Key: key}
		if p.Revision, err = changefile.ParseExpected(rev); err != nil {
			return failure.Usagef("--expect %s: %w", e, err)
		}
		cs.Preconditions = append(cs.Preconditions, p)
	}
	return nil
}

// Submit writes the change set, and retries while its outcome is unknown.
func (s *Session) Submit(ctx context.Context, cs *ledger.ChangeSet) (*stelev1.CommitResponse, error) {
	if cs.RequestID == "" {
		var err error
		if cs.RequestID, err = NewRequestID(); err != nil {
			return nil, err
		}
	}
	req := wire.CommitRequest(cs)
	resp, err := RetryUnknown(ctx, s.Timeout, func(ctx context.Context) (*stelev1.CommitResponse, error) { return s.Ledger.Commit(ctx, req) })
	if OutcomeUnknown(err) {
		return nil, failure.Try(err, "retry with --request-id %s: it is written once, whatever the first outcome was", cs.RequestID)
	}
	return resp, err
}

// Commit writes the change set and prints its revision and how to undo it.
func (s *Session) Commit(ctx context.Context, cmd *cobra.Command, cs *ledger.ChangeSet) error {
	resp, err := s.Submit(ctx, cs)
	if err != nil {
		return err
	}
	if resp.Unchanged {
		return s.unchanged(cs, resp)
	}
	changes, same := wire.CommitRequest(cs).Changes, 0
	if len(changes) > 1 { // those that change nothing are not in the commit
		info, err := s.Ledger.GetCommit(ctx, &stelev1.GetCommitRequest{Commit: &stelev1.GetCommitRequest_Revision{Revision: resp.Revision}, MinRevision: resp.Revision, MinId: resp.Id})
		if err == nil && !info.Info.Partial { // else the caller may not read it
			changes = info.Info.Commit.Changes
			same = len(cs.Changes) - len(changes)
		}
	}
	deleted := 0
	for _, c := range changes {
		if c.Delete {
			deleted++
		}
	}
	what := render.Tally(len(changes)-deleted, deleted)
	if same > 0 {
		what += fmt.Sprintf(", %s as before", output.Count(same, "key"))
	}
	return s.PrintCommitted(cmd, resp, what)
}

// unchanged reports that a change set changes nothing.
func (s *Session) unchanged(cs *ledger.ChangeSet, resp *stelev1.CommitResponse) error {
	if s.Format != "text" {
		o := ResultOf(s.Tenant, resp, "")
		o.Undo = ""
		return s.Object(o)
	}
	if len(cs.Changes) == 1 && cs.Changes[0].Delete {
		return s.Printf("%s was not set: no change\n", cs.Changes[0].Key)
	}
	return s.Printf("no change: %s as before at %s\n", output.Count(len(cs.Changes), "key"), render.Revision(s.Name(resp.Revision)))
}

// NewRequestID returns an idempotency key for a write.
func NewRequestID() (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("name the request: %w", err)
	}
	return id.String(), nil
}

// RetryUnknown makes a call that writes, and makes it again while its outcome is
// unknown: the request id lets it be written once only.
func RetryUnknown[Resp any](ctx context.Context, timeout time.Duration, call func(context.Context) (Resp, error)) (Resp, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	resp, err := call(ctx)
	for wait := 100 * time.Millisecond; OutcomeUnknown(err) && wait < time.Second; wait *= 2 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return resp, err
		}
		if again, failed := call(ctx); ctx.Err() == nil || failed == nil {
			resp, err = again, failed
		}
	}
	return resp, err
}

// OutcomeUnknown reports whether a call may have been carried out although it failed.
func OutcomeUnknown(err error) bool {
	return status.Code(err) == codes.Unavailable || status.Code(err) == codes.DeadlineExceeded
}

// CommitResult is a commit that was just made.
type CommitResult struct {
	Tenant   ledger.Tenant `json:"tenant,omitempty"`
	Revision uint64        `json:"revision"`
	ID       string        `json:"id"`
	Time     string        `json:"time"`
	Repeated bool          `json:"repeated,omitempty"`
	// Unchanged is set if nothing was written; the rest is the head.
	Unchanged bool `json:"unchanged,omitempty"`
	// Undo is the command that takes the commit back.
	Undo string `json:"undo,omitempty"`
}

// ResultOf returns what -o json and -o yaml print of a commit. flags are the global flags
// that its undo command needs.
func ResultOf(t ledger.Tenant, resp *stelev1.CommitResponse, flags string) CommitResult {
	undo := fmt.Sprintf("%s revert %s%s", version.Program(), ledger.Revision(resp.Revision), flags)
	return CommitResult{t, resp.Revision, hex.EncodeToString(resp.Id), render.RFC3339(resp.Time), resp.RepeatedRequest, resp.Unchanged, undo}
}

// PrintCommitted prints a commit, and its effect.
func (s *Session) PrintCommitted(cmd *cobra.Command, resp *stelev1.CommitResponse, what string) error {
	o := ResultOf(s.Tenant, resp, GlobalFlags(cmd))
	if s.Format != "text" {
		return s.Object(o)
	}
	if o.Repeated {
		what = "written before, by the same request id"
	}
	return s.Printf("%s  %s\nundo: %s\n", render.Revision(s.Name(o.Revision)), what, o.Undo)
}

// GlobalFlags repeats the global flags that choose the gateway and the tenant,
// for a command to paste.
func GlobalFlags(cmd *cobra.Command) string {
	var b strings.Builder
	cmd.Root().PersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Changed && f.Name != "output" {
			fmt.Fprintf(&b, " --%s %s", f.Name, output.ShellQuote(f.Value.String()))
		}
	})
	return b.String()
}
