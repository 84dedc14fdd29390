package main

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
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/wire"
	"github.com/stelehq/stele/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// writeFlags are those of every command that writes.
type writeFlags struct {
	message, requestID string
	expect             []string
}

func (w *writeFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&w.message, "message", "m", "", "why, for whoever reads the history")
	flags.StringArrayVar(&w.expect, "expect", nil, "KEY=REV: only if REV last set the key; KEY=absent: only if it is not set")
	flags.StringVar(&w.requestID, "request-id", "", "name of this request: repeated, it gets the first one's outcome")
}

// into puts what the flags say into a change set.
func (w *writeFlags) into(cs *ledger.ChangeSet) error {
	if w.message != "" {
		cs.Message = w.message
	}
	cs.RequestID = w.requestID
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

// commit writes the change set and tells its revision and how to undo it. A
// gateway that goes away leaves the outcome unknown; asking again by the same
// request id tells it.
func (s *session) commit(ctx context.Context, cmd *cobra.Command, cs *ledger.ChangeSet) error {
	if cs.RequestID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return fmt.Errorf("name the request: %w", err)
		}
		cs.RequestID = id.String()
	}
	req := wire.CommitRequest(cs)
	resp, err := s.ledger.Commit(ctx, req)
	for wait := 100 * time.Millisecond; unknown(err) && wait < time.Second; wait *= 2 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
		resp, err = s.ledger.Commit(ctx, req)
	}
	if unknown(err) {
		return failure.Try(err, "the same again with --request-id %s: it is written once, whatever became of it", cs.RequestID)
	}
	if err != nil {
		return err
	}
	return s.written(cmd, cs, resp)
}

func unknown(err error) bool {
	return status.Code(err) == codes.Unavailable || status.Code(err) == codes.DeadlineExceeded
}

func (s *session) written(cmd *cobra.Command, cs *ledger.ChangeSet, resp *stelev1.CommitResponse) error {
	flags := globalFlags(cmd)
	undo := fmt.Sprintf("%[1]s show%[2]s --undo %[3]s | %[1]s apply%[2]s -f -", program(), flags, ledger.Revision(resp.Revision))
	if s.Format != "text" {
		return s.Object(struct {
			Tenant   ledger.Tenant `json:"tenant,omitempty"`
			Revision uint64        `json:"revision"`
			ID       string        `json:"id"`
			Time     string        `json:"time"`
			Repeated bool          `json:"repeated,omitempty"`
			Undo     string        `json:"undo"`
		}{s.tenant, resp.Revision, hex.EncodeToString(resp.Id), rfc3339(resp.Time), resp.RepeatedRequest, undo})
	}
	what := tally(cs.Changes)
	if resp.RepeatedRequest {
		what = "written before, by the same request id"
	}
	return s.Printf("%s  %s\nundo: %s\n", styleRevision(s.name(resp.Revision)), what, undo)
}

// tally says in words what a change set does.
func tally(changes []ledger.Change) string {
	deleted := 0
	for _, c := range changes {
		if c.Delete {
			deleted++
		}
	}
	count := func(n int) string {
		if n == 1 {
			return "1 key"
		}
		return fmt.Sprintf("%d keys", n)
	}
	switch set := len(changes) - deleted; {
	case deleted == 0:
		return count(set) + " set"
	case set == 0:
		return count(deleted) + " deleted"
	default:
		return fmt.Sprintf("%s set, %d deleted", count(set), deleted)
	}
}

// globalFlags repeats the global flags that choose the gateway and the tenant,
// for a command to paste.
func globalFlags(cmd *cobra.Command) string {
	var b strings.Builder
	cmd.Root().PersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Changed && f.Name != "output" {
			fmt.Fprintf(&b, " --%s %s", f.Name, shellQuote(f.Value.String()))
		}
	})
	return b.String()
}

func shellQuote(s string) string {
	plain := strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@") == ""
	if plain && s != "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
