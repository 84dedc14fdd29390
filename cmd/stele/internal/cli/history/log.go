// Package history has the commands that query the history and go back in it: log, show,
// diff, blame, bisect, rollback and revert.
package history

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// logFlags select commits.
type logFlags struct {
	author, grep, since, until string
	most                       int
	changes, reverse           bool
	allTenants, noFollow       bool
}

func LogCommand(c *session.Flags) *cobra.Command {
	var l logFlags
	cmd := &cobra.Command{
		Use:   "log [KEY|PREFIX]",
		Short: "List commits, newest first",
		Long: `List commits, newest first: all of them, or those that changed a key or the keys
under a prefix, with only their changes of these keys. The argument is a key if
that key was ever set, and a prefix otherwise. --author and --grep match any
part of the author's name and of the message, ignoring case. If keys were copied
or renamed, the list continues with the old keys.

With --all-tenants, list the commits of all tenants in the order of the journal
(operators only). --since and --until then take times. The read is recorded for
each tenant listed.`,
		Example: `  stele log tenantconfig/checkout/timeout_ms -p
  stele log tenantconfig/checkout/ --author ann --since 2w --grep bank
  stele log -n 100 -o json
  stele log --reverse -n 0 -o json > acme.jsonl
  stele log --all-tenants --since 1d -n 0`,
		Args: func(cmd *cobra.Command, args []string) error {
			if l.allTenants && len(args) > 0 {
				return fmt.Errorf("--all-tenants lists whole commits: remove the argument %q", args[0])
			}
			return cobra.MaximumNArgs(1)(cmd, args)
		},
		ValidArgsFunction: c.CompleteKey,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		if l.allTenants {
			return logAll(cmd.Context(), s, l)
		}
		name := session.FirstArg(args)
		req, err := selectCommits(ctx, s, l, name)
		if err != nil {
			return err
		}
		printed, err := printLog(ctx, s, req, l)
		if start := s.HistoryStart; err == nil && start != nil && s.Format == "text" {
			err = s.Printf("%s\n", output.Faint.Render(fmt.Sprintf("%s keeps history since %s of %s; its upstream may have earlier commits",
				s.Settings.Address, s.Name(start.Revision), render.Clock(start.Time))))
		}
		if err != nil || printed > 0 {
			return err
		}
		if absent := s.Absent(ctx); absent != nil {
			return absent
		}
		if name == "" {
			fmt.Fprintln(output.Stderr, "no commits match")
			return nil
		}
		ever, err := matchesAny(ctx, s, &stelev1.ListCommitsRequest{Keys: &stelev1.ListCommitsRequest_Prefix{Prefix: name}})
		if err == nil && !ever {
			return failure.With(failure.NotFound, fmt.Errorf("no commit has changed a key under %q", name))
		}
		if err == nil {
			fmt.Fprintln(output.Stderr, "no commits match")
		}
		return err
	})
	flags := cmd.Flags()
	flags.StringVar(&l.author, "author", "", "only commits whose author's name contains this text, in any case")
	flags.StringVar(&l.grep, "grep", "", "only commits whose message contains this text, in any case")
	flags.StringVar(&l.since, "since", "", "only commits not before this revision or time")
	flags.StringVar(&l.until, "until", "", "only commits not after this revision or time")
	flags.IntVarP(&l.most, "number", "n", 20, "how many at most; 0 for all")
	flags.BoolVar(&l.reverse, "reverse", false, "list the selected commits oldest first, as stele import reads them")
	flags.BoolVarP(&l.changes, "changes", "p", false, "show each change, with the value that it replaced")
	flags.BoolVar(&l.noFollow, "no-follow", false, "do not continue with the old keys of copied and renamed ones")
	flags.BoolVar(&l.allTenants, "all-tenants", false, "list the commits of all tenants")
	cmd.MarkFlagsMutuallyExclusive("all-tenants", "changes")
	return cmd
}

func selectCommits(ctx context.Context, s *session.Session, l logFlags, name string) (*stelev1.ListCommitsRequest, error) {
	req := &stelev1.ListCommitsRequest{
		Author: l.author, Grep: l.grep,
		OmitValues: s.Format == "text" && !l.changes, PreviousValues: l.changes, NoFollow: l.noFollow,
	}
	var err error
	if req.Since, err = s.Bound(ctx, "since", l.since); err != nil {
		return nil, err
	}
	if req.Until, err = s.Bound(ctx, "until", l.until); err != nil {
		return nil, err
	}
	if name == "" {
		return req, nil
	}
	req.OnlyMatchingChanges = true
	isKey := false
	if _, notKey := ledger.ParseKey(name); notKey == nil {
		isKey, err = matchesAny(ctx, s, &stelev1.ListCommitsRequest{Keys: &stelev1.ListCommitsRequest_Key{Key: name}})
	}
	if isKey {
		req.Keys = &stelev1.ListCommitsRequest_Key{Key: name}
	} else {
		req.Keys = &stelev1.ListCommitsRequest_Prefix{Prefix: name}
	}
	return req, err
}

// matchesAny reports whether the request selects any commit.
func matchesAny(ctx context.Context, s *session.Session, req *stelev1.ListCommitsRequest) (found bool, err error) {
	req.OmitValues, req.OnlyMatchingChanges = true, true
	err = s.Commits(ctx, req, 1, func(*stelev1.CommitInfo) error {
		found = true
		return nil
	})
	return found, err
}

// printLog prints the commits that the request selects, and returns how many.
func printLog(ctx context.Context, s *session.Session, req *stelev1.ListCommitsRequest, l logFlags) (printed int, err error) {
	var rows [][]string
	print := func(info *stelev1.CommitInfo) error {
		printed++
		c := info.Commit
		switch {
		case s.Format == "text" && !l.changes:
			rows = append(rows, []string{
				render.Revision(s.Name(c.Revision)), output.Faint.Render(render.When(info)), render.Role(c), output.Plain(c.Author), signs(info), output.Subject(c.Message),
			})
			return nil
		case s.Format == "text" && printed > 1:
			if err := s.Printf("\n"); err != nil {
				return err
			}
		}
		return showCommit(ctx, s, info)
	}
	if l.reverse {
		err = oldestFirst(ctx, s, req, l.most, print)
	} else {
		err = s.Commits(ctx, req, l.most, print)
	}
	if err != nil || len(rows) == 0 {
		return printed, err
	}
	return printed, s.Table([]string{"REVISION", "TIME", "ROLE", "AUTHOR", "CHANGES", "MESSAGE"}, rows, 5)
}

// oldestFirst calls f for the commits that the request selects, the oldest first. All of
// them are kept in memory.
func oldestFirst(ctx context.Context, s *session.Session, req *stelev1.ListCommitsRequest, most int, f func(*stelev1.CommitInfo) error) error {
	var all []*stelev1.CommitInfo
	err := s.Commits(ctx, req, most, func(info *stelev1.CommitInfo) error {
		all = append(all, info)
		return nil
	})
	for _, info := range slices.Backward(all) {
		if err == nil {
			err = f(info)
		}
	}
	return err
}

// signs counts sets and deletes: +2 -1, and ends with ... if more are not listed.
func signs(info *stelev1.CommitInfo) string {
	set, deleted := 0, 0
	for _, ch := range info.Commit.Changes {
		if ch.Delete {
			deleted++
		} else {
			set++
		}
	}
	var parts []string
	if set > 0 {
		parts = append(parts, fmt.Sprintf("+%d", set))
	}
	if deleted > 0 {
		parts = append(parts, fmt.Sprintf("-%d", deleted))
	}
	if info.MoreChanges {
		parts = append(parts, "...")
	}
	return strings.Join(parts, " ")
}
