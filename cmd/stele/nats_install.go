package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/permissions"
	"github.com/stelehq/stele/ledger/journal"
)

// installTimeout is how long all of nats-install may take.
const installTimeout = time.Minute

func natsInstallCommand() *cobra.Command {
	var o natsOptions
	var edges []string
	var plaintext bool
	cmd := &cobra.Command{
		Use:   "nats-install --nats-url URL [--edge NAME=TENANT,TENANT]",
		Short: "Make a ledger's streams, and the consumers of its edge gateways",
		Long: `Make the streams of a ledger on NATS servers, where they are missing, and the
consumers of the edge gateways that are named, or have those deliver other tenants.
Nothing that is there is changed otherwise. So the processes that run need no right
to make streams: see "stele nats-permissions".`,
		Example: `  stele nats-install --nats-url nats://n1:4222 --nats-nkey install.nk \
    --nats-monitor http://n1:8222 --edge edge1=acme,globex`,
		Args:    cobra.NoArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error { return flagsFromEnvironment(cmd.Flags()) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.nats.URL == "" {
				return failure.Usagef("--nats-url is needed")
			}
			o.nats.Plaintext = plaintext
			var made []permissions.Edge
			for _, text := range edges {
				e, err := parseEdge(text)
				if err != nil {
					return err
				}
				made = append(made, e)
			}
			return install(cmd.Context(), cmd.OutOrStdout(), o, made)
		},
	}
	f := cmd.Flags()
	o.addFlags(f)
	f.StringArrayVar(&edges, "edge", nil, "an edge gateway, NAME=TENANT,TENANT")
	f.BoolVar(&plaintext, "plaintext", false, "speak without TLS with other machines, too, because something between does it")
	return cmd
}

func install(ctx context.Context, out io.Writer, o natsOptions, edges []permissions.Edge) error {
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	nc, err := o.nats.Connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	cfg := o.journal()
	cfg.Log = slog.New(slog.DiscardHandler) // its guard has nothing to tell in so short a time
	j, err := journal.Open(ctx, nc, cfg)
	if err != nil {
		return err
	}
	defer j.Close()
	if err := j.MakeSides(ctx); err != nil {
		return err
	}
	fmt.Fprintf(out, "the ledger %s has all its streams: %d shards, and what is kept beside them\n", j.Epoch(), j.Shards())
	for _, e := range edges {
		if err := j.MakeEdge(ctx, e.Name, e.Tenants); err != nil {
			return err
		}
		fmt.Fprintf(out, "edge %s reads %v\n", e.Name, e.Tenants)
	}
	return nil
}
