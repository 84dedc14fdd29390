package history

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger/asof"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func DiffCommand(c *session.Flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diff A [B] [PREFIX]",
		Short: "Compare two revisions or times",
		Long: `Compare the state at A with the later state at B (default @HEAD): which keys
were set (+), changed (~) and deleted (-), and at which places inside their
values. With PREFIX, only keys under it are compared. A second argument that
parses as a revision is B.

With -o json, print one object per key:
{"key":...,"from":{"revision":N,"value":...}, "to":{...},"patch":[...]}. patch
is a JSON Patch (RFC 6902), if the key is set in both states.`,
		Example: `  stele diff @1d
  stele diff @2025-03-04 @2025-03-05 tenantconfig/checkout/
  stele diff @40 @42 -o json`,
		Args: cobra.RangeArgs(1, 3),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return c.CompleteKey(cmd, args, toComplete)
		},
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		from, err := s.At(ctx, args[0])
		if a, b, ok := strings.Cut(args[0], ".."); ok && err != nil { // as git names a range
			err = failure.Try(err, "stele diff %s %s", output.ShellQuote(a), output.ShellQuote(b))
		}
		if err != nil {
			return err
		}
		if from == nil {
			return failure.Usagef("diff takes a revision, e.g. @42")
		}
		req := &stelev1.DiffRequest{From: from, PageSize: 10_000}
		rest := args[1:]
		if len(rest) == 2 || len(rest) == 1 && isAsOf(rest[0]) {
			if req.To, err = s.At(ctx, rest[0]); err != nil {
				return err
			}
			rest = rest[1:]
		}
		req.Prefix = session.FirstArg(rest)
		return diff(ctx, s, req)
	})
	return cmd
}

func isAsOf(text string) bool {
	_, err := asof.Parse(text, time.Now())
	return err == nil
}

func diff(ctx context.Context, s *session.Session, req *stelev1.DiffRequest) error {
	var t render.DiffTally
	states, err := eachDiff(ctx, s, req, func(d *stelev1.KeyDiff) error {
		t.Add(d)
		return render.WriteDiff(s.Printer, d)
	})
	if err != nil || s.Format != "text" {
		return err
	}
	return s.Printf("%s to %s: %s\n", render.Revision(s.Name(states.FromRevision)), render.Revision(s.Name(states.ToRevision)), t)
}

// eachDiff calls f for every key that differs, and returns the last page, which
// names the two states.
func eachDiff(ctx context.Context, s *session.Session, req *stelev1.DiffRequest, f func(*stelev1.KeyDiff) error) (*stelev1.DiffResponse, error) {
	for {
		resp, err := s.Ledger.Diff(ctx, req)
		if err != nil {
			return nil, err
		}
		for _, d := range resp.Diffs {
			if err := f(d); err != nil {
				return nil, err
			}
		}
		if req.PageToken = resp.NextPageToken; req.PageToken == "" {
			return resp, nil
		}
	}
}
