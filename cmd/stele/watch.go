package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/follow"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func watchCommand(c *cli) *cobra.Command {
	var from string
	var initial, allTenants bool
	cmd := &cobra.Command{
		Use:   "watch [PREFIX...]",
		Short: "Print changes as they happen",
		Long: `Print every commit that changes keys under a prefix, as it happens, until interrupted.
"a/b" is the key a/b and all keys below it; without a prefix everything is watched.
A connection that is lost is made again, and nothing is missed.

With --all-tenants, print the commits of all tenants in the order of the journal
(operators only). --from is then a position of the journal, as -o json prints it;
the commits after it are printed. The read is recorded for each tenant printed.`,
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
		ValidArgsFunction: c.keys,
	}
	cmd.RunE = c.connected(func(ctx context.Context, s *session, args []string) error {
		if allTenants {
			return s.watchAll(cmd.Context(), from)
		}
		cfg := follow.Config{Client: s.config, Initial: initial, State: s.printState, Commit: s.printCommit, Lost: tellLost}
		if cfg.Prefixes = args; len(args) == 0 {
			cfg.Prefixes = []string{""}
		}
		at, err := s.at(ctx, from)
		switch {
		case err != nil:
			return err
		case at.GetTime() != nil:
			// The first commit that is not before that time, as for "stele log --since".
			cfg.From, err = s.firstSince(ctx, from)
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

func (s *session) printState(rev ledger.Revision, entries []*stelev1.Entry) error {
	if s.Format != "text" {
		state := struct {
			Revision ledger.Revision `json:"revision"`
			Entries  []entry         `json:"entries"`
		}{rev, make([]entry, len(entries))}
		for i, e := range entries {
			state.Entries[i] = entryObject(e)
		}
		return s.Object(state)
	}
	if err := s.Printf("%s  state, %d keys\n", styleRevision(s.name(uint64(rev))), len(entries)); err != nil {
		return err
	}
	for _, e := range entries {
		if err := s.Printf("    %s = %s  %s\n", e.Key, e.Value, styleRevision(ledger.Revision(e.Revision).String())); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) printCommit(w *stelev1.WatchCommit) error {
	if s.Format != "text" {
		return s.Object(commitObject(&stelev1.CommitInfo{Id: w.Id, Commit: &stelev1.Commit{
			Revision: w.Revision, Time: w.Time, Author: w.Author, Message: w.Message, Changes: w.Changes,
		}}))
	}
	err := s.Printf("%s  %s  %s  %s\n", styleRevision(s.name(w.Revision)), output.Faint.Render(clock(w.Time)), output.Plain(w.Author), output.Subject(w.Message))
	if err != nil {
		return err
	}
	return s.printWatched(w.Changes)
}

func (s *session) printWatched(changes []*stelev1.Change) (err error) {
	for _, ch := range changes {
		if err != nil {
			return err
		}
		if ch.Delete {
			err = s.Printf("  %s %s\n", output.Bad.Render("-"), ch.Key)
		} else {
			err = s.Printf("  %s %s = %s\n", output.Good.Render("+"), ch.Key, ch.Value)
		}
	}
	return err
}

func tellLost(err error, next ledger.Revision) {
	goes := ""
	if next > 0 {
		goes = fmt.Sprintf(" from %s", next)
	}
	fmt.Fprintf(os.Stderr, "%s: going on%s\n", failure.Message(err), goes)
}
