package history

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/environ"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/wire"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func BisectCommand(c *session.Flags) *cobra.Command {
	var run, good, bad string
	var names environ.Names
	cmd := &cobra.Command{
		Use:   "bisect [PREFIX] --run CMD [--good REV] [--bad REV]",
		Short: "Find the first revision at which a command fails",
		Long: `Find the first revision at which a command fails, by binary search between a
good revision, at which it exits with 0, and a later bad one, at which it fails.
The command is run with sh. Its environment contains the settings below PREFIX
at the tested revision, with the names and restrictions of "stele exec", and
STELE_TENANT and STELE_REVISION, for example for "stele get KEY --at
$STELE_REVISION". Its output goes to standard error. An exit code of 126 or
higher, or a signal, ends the search, because the command itself failed.`,
		Example: `  stele bisect tenantconfig/checkout --run 'test "$TIMEOUT_MS" -lt 5000'
  stele bisect --run ./check.sh --good @2025-03-04 --bad @HEAD~10`,
		Args: func(_ *cobra.Command, args []string) error {
			if run == "" || len(args) > 1 {
				return fmt.Errorf("bisect takes --run CMD and at most one prefix")
			}
			return nil
		},
		ValidArgsFunction: c.CompleteKey,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		if err := names.Validate(); err != nil {
			return failure.Usagef("--env-prefix: %w", err)
		}
		b := &bisection{Session: s, names: names, run: run, prefix: strings.TrimSuffix(session.FirstArg(args), "/")}
		found, err := b.between(ctx, good, bad)
		if err != nil {
			return err
		}
		info, err := commitAt(ctx, s, wire.AtRevision(found))
		if err != nil {
			return err
		}
		return showCommit(ctx, s, info)
	})
	flags := cmd.Flags()
	names.AddFlags(flags)
	flags.StringVar(&run, "run", "", "command to run with sh")
	flags.StringVar(&good, "good", "@1", "revision or time at which the command succeeds")
	flags.StringVar(&bad, "bad", "@HEAD", "later revision or time at which the command fails")
	return cmd
}

// bisection looks for the first revision at which a command fails.
type bisection struct {
	*session.Session
	names       environ.Names
	run, prefix string
}

func (b *bisection) between(ctx context.Context, goodText, badText string) (ledger.Revision, error) {
	bad, err := revisionAt(ctx, b.Session, badText)
	if err != nil {
		return 0, err
	}
	good, err := revisionAt(ctx, b.Session, goodText)
	if err != nil {
		return 0, err
	}
	if good >= bad {
		return 0, failure.Usagef("the good revision %s is not before the bad one %s: name others by --good and --bad", good, bad)
	}
	fails, err := b.fails(ctx, bad, "should fail")
	if err != nil {
		return 0, err
	}
	if !fails {
		return 0, failure.With(failure.Conflict, fmt.Errorf("the command succeeds at the bad revision %s: name one at which it fails by --bad", bad))
	}
	fails, err = b.fails(ctx, good, "should succeed")
	if err != nil {
		return 0, err
	}
	if fails {
		return 0, failure.With(failure.Conflict, fmt.Errorf("the command fails at the good revision %s: name one at which it succeeds by --good, @0 for no settings at all", good))
	}
	most := bits.Len64(uint64(bad - good - 1))
	for step := 1; bad-good > 1; step++ {
		middle := good + (bad-good)/2
		fails, err := b.fails(ctx, middle, fmt.Sprintf("%d of at most %d", step, most))
		if err != nil {
			return 0, err
		}
		if fails {
			bad = middle
		} else {
			good = middle
		}
	}
	return bad, nil
}

// fails runs the command at a revision.
func (b *bisection) fails(ctx context.Context, rev ledger.Revision, note string) (bool, error) {
	settings := make(map[ledger.Key]ledger.Value)
	if rev > 0 {
		below := b.prefix
		if below != "" {
			below += "/"
		}
		var err error
		if settings, _, err = b.SettingsBelow(ctx, below, wire.AtRevision(rev)); err != nil {
			return false, err
		}
	}
	vars, err := b.names.Variables(b.prefix, settings)
	if err != nil {
		return false, failure.With(failure.Invalid, fmt.Errorf("the settings at %s cannot be variables: %w", rev, err))
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", b.run)
	cmd.Env = append(append(os.Environ(), vars...),
		fmt.Sprint("STELE_TENANT=", b.Tenant), fmt.Sprint("STELE_REVISION=", rev),
		// A stele that it runs asks the same gateway.
		"STELE_ADDRESS="+b.Settings.Address, "STELE_TOKEN="+b.Settings.Token, "STELE_TOKEN_FILE="+b.Settings.TokenFile)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	err = cmd.Run()
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return false, fmt.Errorf("run sh: %w", err)
	}
	if exit != nil && (exit.ExitCode() < 0 || exit.ExitCode() >= 126) {
		return false, fmt.Errorf("the command ended with %w at %s: this says nothing about the settings", exit, rev)
	}
	verdict := "good"
	if exit != nil {
		verdict = "bad, " + exit.Error()
	}
	fmt.Fprintf(output.Stderr, "%s  %s  (%s)\n", b.Name(uint64(rev)), verdict, note)
	return exit != nil, nil
}

// revisionAt is the revision of a state.
func revisionAt(ctx context.Context, s *session.Session, text string) (ledger.Revision, error) {
	at, err := s.At(ctx, text)
	if err != nil {
		return 0, err
	}
	if at.GetTime() == nil {
		return ledger.Revision(at.GetRevision()), nil
	}
	resp, err := s.Ledger.GetCommit(ctx, &stelev1.GetCommitRequest{Commit: &stelev1.GetCommitRequest_Time{Time: at.GetTime()}})
	return ledger.Revision(resp.GetInfo().GetCommit().GetRevision()), err
}
