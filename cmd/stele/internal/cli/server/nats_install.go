package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/internal/ledger/journal"
)

// installTimeout is how long all of nats-install may take.
const installTimeout = time.Minute

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
	nc, err := o.nats.Connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	cfg := o.journal()
	cfg.Log = slog.New(slog.DiscardHandler) // its guard has nothing to report in so short a time
	j, err := journal.Open(ctx, nc, cfg)
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
