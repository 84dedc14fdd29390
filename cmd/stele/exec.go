package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/environ"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/follow"
	"github.com/stelehq/stele/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/term"
)

func execCommand(c *cli) *cobra.Command {
	var restart bool
	cmd := &cobra.Command{
		Use:   "exec PREFIX [--restart] -- CMD [ARG...]",
		Short: "Run a command with settings as environment variables",
		Long: `Run a command with the settings below PREFIX as environment variables: the rest of
the key in upper case, with "_" for what a name cannot have. With --restart the
command is stopped and started again when they change. Its exit code is returned.`,
		Example: `  stele exec tenantconfig/checkout --restart -- ./checkout --port 8080`,
		Args: func(cmd *cobra.Command, args []string) error {
			if cmd.ArgsLenAtDash() != 1 || len(args) < 2 {
				return fmt.Errorf("exec takes a prefix, \"--\" and a command")
			}
			return nil
		},
		ValidArgsFunction: c.keys,
	}
	cmd.RunE = c.connected(func(ctx context.Context, s *session, args []string) error {
		return s.exec(ctx, strings.TrimSuffix(args[0], "/"), args[1:], restart)
	})
	cmd.Flags().BoolVar(&restart, "restart", false, "start the command again when its settings change")
	return cmd
}

func (s *session) exec(ctx context.Context, prefix string, argv []string, restart bool) error {
	// Signals are the command's: it ends when it wants to, and stele with it.
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
	settings, rev, err := s.settingsBelow(ctx, below, nil)
	if err != nil {
		return err
	}
	vars, err := environ.Variables(prefix, settings)
	if err != nil {
		return failure.With(failure.Invalid, err)
	}
	var changed chan []string
	watched := make(chan error, 1)
	if restart {
		changed = make(chan []string)
		go func() {
			defer cancel()
			watched <- s.watchVariables(ctx, prefix, below, settings, rev, changed)
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

// settingsBelow reads the settings at a moment, nil for head, and its revision.
func (s *session) settingsBelow(ctx context.Context, below string, at *stelev1.At) (map[ledger.Key]ledger.Value, ledger.Revision, error) {
	settings := make(map[ledger.Key]ledger.Value)
	var rev ledger.Revision
	req := &stelev1.ListRequest{Prefix: below, At: at, PageSize: 10_000}
	for {
		resp, err := s.config.List(ctx, req)
		if err != nil {
			return nil, 0, err
		}
		for _, e := range resp.Entries {
			settings[ledger.Key(e.Key)] = ledger.Value(e.Value)
		}
		rev = ledger.Revision(resp.Snapshot.GetRevision())
		if req.PageToken = resp.NextPageToken; req.PageToken == "" {
			return settings, rev, nil
		}
	}
}

// watchVariables sends the variables after each commit that changes settings.
// Settings that cannot be variables are told, and the command keeps what it has.
func (s *session) watchVariables(ctx context.Context, prefix, below string, settings map[ledger.Key]ledger.Value, rev ledger.Revision, changed chan<- []string) error {
	return follow.Watch(ctx, follow.Config{
		Client: s.config, Prefixes: []string{below}, From: rev + 1, Lost: tellLost,
		Commit: func(w *stelev1.WatchCommit) error {
			for _, ch := range w.Changes {
				if ch.Delete {
					delete(settings, ledger.Key(ch.Key))
				} else {
					settings[ledger.Key(ch.Key)] = ledger.Value(ch.Value)
				}
			}
			vars, err := environ.Variables(prefix, settings)
			if err != nil {
				fmt.Fprintf(os.Stderr, "%s: %v: the command keeps the settings it has\n", s.name(w.Revision), err)
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

// forwarded are the signals that the command gets from us. On a terminal, Ctrl-C
// and Ctrl-\ reach it without our help, and ours would be a second one.
func forwarded() []os.Signal {
	signals := []os.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		signals = append(signals, syscall.SIGINT, syscall.SIGQUIT)
	}
	return signals
}
