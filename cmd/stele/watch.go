package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/follow"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func watchCommand(c *cli) *cobra.Command {
	var from string
	var initial, allTenants bool
	cmd := &cobra.Command{
		Use:   "watch [KEY...]",
		Short: "Print changes as they happen",
		Long: `Print every commit that changes the keys, as it happens, until interrupted. A KEY
stands for itself and for all keys below it; without one, everything is watched.
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
		cfg.Keys, cfg.Prefixes = selection(args)
		at, err := s.at(ctx, from)
		switch {
		case err != nil:
			return err
		case at.GetTime() != nil:
			// The watch begins with the first commit after that time.
			resp, err := s.ledger.GetCommit(ctx, &stelev1.GetCommitRequest{Commit: &stelev1.GetCommitRequest_Time{Time: at.GetTime()}})
			if err != nil {
				return err
			}
			cfg.From = ledger.Revision(resp.Info.Commit.Revision) + 1
		case at != nil:
			cfg.From = max(1, ledger.Revision(at.GetRevision()))
		}
		return follow.Watch(ctx, cfg)
	})
	cmd.Flags().StringVar(&from, "from", "", "first revision to print, or the time after which to begin")
	cmd.Flags().BoolVar(&initial, "initial", false, "first print the state")
	cmd.Flags().BoolVar(&allTenants, "all-tenants", false, "print the commits of all tenants")
	cmd.MarkFlagsMutuallyExclusive("all-tenants", "initial")
	return cmd
}

// selection is what the arguments watch: each a key and what is below it.
func selection(args []string) (keys, prefixes []string) {
	if len(args) == 0 {
		return nil, []string{""}
	}
	for _, arg := range args {
		if key, below := strings.CutSuffix(arg, "/"); below {
			prefixes = append(prefixes, arg)
		} else {
			keys, prefixes = append(keys, key), append(prefixes, arg+"/")
		}
	}
	return keys, prefixes
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
