package keys

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/follow"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func WatchCommand(c *session.Flags) *cobra.Command {
	var from string
	var initial, allTenants bool
	cmd := &cobra.Command{
		Use:   "watch [PREFIX...]",
		Short: "Print changes as they happen",
		Long: `Print every commit that changes keys under a prefix, as it happens, until
interrupted. "a/b" is the key a/b and all keys below it; without a prefix
everything is watched. It reconnects after a lost connection and misses no
commit.

With --all-tenants, print the commits of all tenants in the order of the journal
(operators only). --from is then a position of the journal, as -o json prints
it; the commits after it are printed. The read is recorded for each tenant
printed.`,
		Example: `  stele watch tenantconfig/checkout --initial
  stele watch --from @42 -o json
  stele watch --all-tenants --from 0`,
		Args: func(_ *cobra.Command, args []string) error {
			if allTenants && len(args) > 0 {
				return fmt.Errorf("--all-tenants prints whole commits: remove the argument %q", args[0])
			}
			if from != "" && initial {
				return fmt.Errorf("a watch begins either --from a revision or with the --initial state")
			}
			return nil
		},
		ValidArgsFunction: c.CompleteKey,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		if allTenants {
			return watchAll(cmd.Context(), s, from)
		}
		cfg := follow.Config{Client: s.Config, Gateways: s.Conn.Count(), Initial: initial, Lost: reportLost,
			State:  func(rev ledger.Revision, entries []*stelev1.Entry) error { return printState(s, rev, entries) },
			Commit: func(w *stelev1.WatchCommit) error { return printCommit(s, w) },
		}
		if cfg.Prefixes = args; len(args) == 0 {
			cfg.Prefixes = []string{""}
		}
		at, err := s.At(ctx, from)
		switch {
		case err != nil:
			return err
		case at.GetTime() != nil:
			// The first commit that is not before that time, as for "stele log --since".
			cfg.From, err = s.FirstSince(ctx, from)
			if code := status.Code(err); code == codes.OutOfRange || code == codes.NotFound {
				cfg.From, err = 1, nil // there is no commit yet
			}
			if err != nil {
				return err
			}
		case at != nil:
			cfg.From = max(1, ledger.Revision(at.GetRevision()))
		}
		return follow.Watch(ctx, cfg)
	})
	cmd.Flags().StringVar(&from, "from", "", "first revision to print, or the time to begin at")
	cmd.Flags().BoolVar(&initial, "initial", false, "first print the state")
	cmd.Flags().BoolVar(&allTenants, "all-tenants", false, "print the commits of all tenants")
	cmd.MarkFlagsMutuallyExclusive("all-tenants", "initial")
	return cmd
}

func printState(s *session.Session, rev ledger.Revision, entries []*stelev1.Entry) error {
	if s.Format != "text" {
		state := struct {
			Revision ledger.Revision `json:"revision"`
			Entries  []render.Entry  `json:"entries"`
		}{rev, make([]render.Entry, len(entries))}
		for i, e := range entries {
			state.Entries[i] = render.EntryObject(e)
		}
		return s.Object(state)
	}
	if err := s.Printf("%s  state, %s\n", render.Revision(s.Name(uint64(rev))), output.Count(len(entries), "key")); err != nil {
		return err
	}
	for _, e := range entries {
		if err := s.Printf("    %s = %s  %s\n", e.Key, e.Value, render.Revision(ledger.Revision(e.Revision).String())); err != nil {
			return err
		}
	}
	return nil
}

func printCommit(s *session.Session, w *stelev1.WatchCommit) error {
	if s.Format != "text" {
		return s.Object(render.CommitObject(&stelev1.CommitInfo{Id: w.Id, Commit: &stelev1.Commit{
			Revision: w.Revision, Time: w.Time, Author: w.Author, Message: w.Message, Changes: w.Changes,
		}}))
	}
	err := s.Printf("%s  %s  %s  %s\n", render.Revision(s.Name(w.Revision)), output.Faint.Render(render.Clock(w.Time)), output.Plain(w.Author), output.Subject(w.Message))
	if err != nil {
		return err
	}
	return render.WriteChanges(s.Printer, w.Changes)
}

func reportLost(err error, from string) {
	fmt.Fprintln(output.Stderr, strings.TrimSpace(failure.Message(err)+": resuming "+from))
}
