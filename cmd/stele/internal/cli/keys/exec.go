package keys

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/environ"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/follow"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/secret"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/term"
)

func ExecCommand(c *session.Flags) *cobra.Command {
	var restart, allowEmpty bool
	var names environ.Names
	cmd := &cobra.Command{
		Use:   "exec PREFIX [--restart] -- CMD [ARG...]",
		Short: "Run a command with settings as environment variables",
		Long: `Run a command with the settings below PREFIX as environment variables. A
variable's name is the rest of the key in upper case, with "_" in place of other
characters than letters and digits. With --restart the command is restarted half
a second after the last change of a setting. stele exits with the command's exit
code. If no key below PREFIX is set, the command is not run, unless
--allow-empty is given.

A setting whose variable would change how programs load or run (PATH,
LD_PRELOAD, BASH_ENV, NODE_OPTIONS and the like) is rejected, unless --allow-env
names the variable. --env-prefix adds a prefix to every name.

If there are secrets, they are revealed to the command, which requires the
reveal permission and is recorded.`,
		Example: `  stele exec tenantconfig/checkout --restart -- ./checkout --port 8080`,
		Args: func(cmd *cobra.Command, args []string) error {
			if cmd.ArgsLenAtDash() != 1 || len(args) < 2 {
				return fmt.Errorf("exec takes a prefix, \"--\" and a command")
			}
			return nil
		},
		ValidArgsFunction: c.CompleteKey,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		if err := names.Validate(); err != nil {
			return failure.Usagef("--env-prefix: %w", err)
		}
		if strings.HasSuffix(args[0], "*") {
			return failure.Usagef("exec takes the prefix of a segment, without \"*\": %s", args[0])
		}
		return exec(ctx, s, names, strings.TrimSuffix(args[0], "/"), args[1:], restart, allowEmpty)
	})
	cmd.Flags().BoolVar(&allowEmpty, "allow-empty", false, "run the command even if no key below PREFIX is set")
	names.AddFlags(cmd.Flags())
	cmd.Flags().BoolVar(&restart, "restart", false, "start the command again when its settings change")
	return cmd
}

func exec(ctx context.Context, s *session.Session, names environ.Names, prefix string, argv []string, restart, allowEmpty bool) error {
	// Signals are sent to the command: it decides when it ends, and stele ends with it.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	signals, ours := make(chan os.Signal, 8), make(chan os.Signal, 1)
	signal.Notify(ours, os.Interrupt, syscall.SIGQUIT)
	defer signal.Stop(ours)
	signal.Notify(signals, forwarded()...)
	defer signal.Stop(signals)

	below := prefix
	if below != "" {
		below += "/"
	}
	settings, at, err := s.SettingsBelow(ctx, below, nil)
	if err != nil {
		return err
	}
	if len(settings) == 0 && !allowEmpty {
		if err := s.Absent(ctx); err != nil {
			return err
		}
		if _, err := s.Config.Get(ctx, &stelev1.GetRequest{Key: prefix}); err == nil {
			return failure.With(failure.NotFound, fmt.Errorf("%s is a key, and no key below it is set: name a prefix of it", prefix))
		}
		return failure.Try(failure.With(failure.NotFound, fmt.Errorf("no key below %q is set in %s", below, s.Name(at.GetRevision()))), "--allow-empty, to run the command without settings")
	}
	vars, err := names.Variables(prefix, settings)
	if err != nil {
		return failure.With(failure.Invalid, err)
	}
	var changed chan []string
	watched := make(chan error, 1)
	if restart {
		changed = make(chan []string)
		go func() {
			defer cancel()
			watched <- watchVariables(ctx, s, names, prefix, below, settings, at, changed)
		}()
	} else {
		watched <- nil
	}
	code, err := environ.Run(ctx, argv, vars, changed, signals)
	cancel()
	if watchErr := <-watched; err != nil && watchErr != nil {
		return watchErr
	}
	if err == nil && code != 0 {
		return failure.Exit(code)
	}
	return err
}

// watchVariables sends the variables after each commit that changes settings.
// Settings that cannot be variables are reported, and the command keeps what it has.
func watchVariables(ctx context.Context, s *session.Session, names environ.Names, prefix, below string, settings map[ledger.Key]ledger.Value, at *stelev1.Snapshot, changed chan<- []string) error {
	return follow.Watch(ctx, follow.Config{
		Client: s.Config, Gateways: s.Conn.Count(), Prefixes: []string{below}, From: ledger.Revision(at.GetRevision()) + 1, AfterID: at.GetId(), Lost: reportLost,
		Commit: func(w *stelev1.WatchCommit) error {
			for err := update(ctx, s, settings, w); err != nil; err = update(ctx, s, settings, w) {
				if !session.OutcomeUnknown(err) {
					return err
				}
				select {
				case <-time.After(time.Second):
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			vars, err := names.Variables(prefix, settings)
			if err != nil {
				fmt.Fprintf(output.Stderr, "%s: %v: the command keeps the settings it has\n", s.Name(w.Revision), err)
				return nil
			}
			select {
			case changed <- vars:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
	})
}

// update applies a commit's changes to settings. The mask of a secret may also be an
// ordinary string, so the gateway is asked.
func update(ctx context.Context, s *session.Session, settings map[ledger.Key]ledger.Value, w *stelev1.WatchCommit) error {
	var masked, secrets []string
	for _, ch := range w.Changes {
		if ch.Delete {
			delete(settings, ledger.Key(ch.Key))
			continue
		}
		settings[ledger.Key(ch.Key)] = ledger.Value(ch.Value)
		if ch.Value == string(secret.Mask) {
			masked = append(masked, ch.Key)
		}
	}
	rev := ledger.Revision(w.Revision)
	entries, err := s.EntriesOf(ctx, masked, rev)
	if err != nil {
		return err
	}
	for _, k := range masked {
		if entries[k].GetSecret() {
			secrets = append(secrets, k)
		}
	}
	return s.Reveal(ctx, settings, secrets, rev)
}

// forwarded are the signals that the command gets from us. On a terminal, Ctrl-C
// and Ctrl-\ reach it without our help, and ours would be a second one.
func forwarded() []os.Signal {
	signals := append([]os.Signal{syscall.SIGTERM, syscall.SIGHUP}, userSignals...)
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		signals = append(signals, syscall.SIGINT, syscall.SIGQUIT)
	}
	return signals
}
