package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/internal/ledger/journal"
)

const (
	// installTimeout is how long all of nats-install may take.
	installTimeout = time.Minute
	// openTimeout is how long one try to open the journal may take: servers that have just
	// started answer nothing until they have elected a leader.
	openTimeout = 10 * time.Second
)

func NatsInstallCommand() *cobra.Command {
	var o natsOptions
	var plaintext bool
	cmd := &cobra.Command{
		Use:   "nats-install --nats-url URL",
		Short: "Create a ledger's streams on NATS servers",
		Long: `Create the streams of a ledger on NATS servers, if they are missing. Existing
streams are not changed. After that, the ledger's processes do not need
permission to create streams: see "stele nats-permissions".`,
		Example: `  stele nats-install --nats-url nats://n1:4222 --nats-nkey install.nk \
    --nats-monitor http://n1:8222`,
		Args:    cobra.NoArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error { return flagsFromEnvironment(cmd.Flags()) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.nats.URL == "" {
				return failure.Usagef("--nats-url is needed")
			}
			o.nats.Plaintext = plaintext
			return install(cmd.Context(), cmd.OutOrStdout(), o)
		},
	}
	f := cmd.Flags()
	o.addFlags(f)
	f.BoolVar(&plaintext, "plaintext", false, "allow plaintext to other machines (a proxy terminates TLS)")
	return cmd
}

func install(ctx context.Context, out io.Writer, o natsOptions) error {
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	silent := slog.New(slog.DiscardHandler) // the error says all of it
	nc, err := o.nats.Connect(silent)
	if err != nil {
		return err
	}
	defer nc.Close()
	cfg := o.journal()
	cfg.Log = silent
	var j *journal.Journal
	for {
		attempt, cancel := context.WithTimeout(ctx, openTimeout)
		j, err = journal.Open(attempt, nc, cfg)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrPermissionViolation) || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return err
	}
	defer j.Close()
	if err := j.CreateAuxStreams(ctx); err != nil {
		return err
	}
	fmt.Fprintf(out, "the ledger %s has all its streams\n", j.Epoch())
	return nil
}
