package main

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/environ"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func getCommand(c *cli) *cobra.Command {
	var at string
	var asJSON, reveal bool
	cmd := &cobra.Command{
		Use:   "get KEY",
		Short: "Print a key's value",
		Long: `Print a key's value, now or at any moment of the past: a string bare, anything
else as JSON. Exit code 3 where the key is not set. "***" stands in the place of a
secret; to reveal one takes a right of its own, and is recorded.`,
		Example: `  stele get tenantconfig/checkout/timeout_ms
  stele get tenantconfig/checkout/timeout_ms --at @2h
  stele get paramconfig/db/password --reveal`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.keys,
	}
	cmd.RunE = c.connected(func(ctx context.Context, s *session, args []string) error {
		key, err := ledger.ParseKey(args[0])
		if err != nil {
			return failure.With(failure.Invalid, err)
		}
		point, err := s.at(ctx, at)
		if err != nil {
			return err
		}
		resp, err := s.config.Get(ctx, &stelev1.GetRequest{Key: string(key), At: point, Reveal: reveal})
		if err != nil {
			return err
		}
		switch value := ledger.Value(resp.Entry.Value); {
		case s.Format != "text":
			return s.Object(entryObject(resp.Entry))
		case asJSON:
			return s.Write([]byte(value + "\n"))
		default:
			return s.Write([]byte(environ.Bare(value) + "\n"))
		}
	})
	cmd.Flags().StringVar(&at, "at", "", "revision or time to read")
	cmd.Flags().BoolVar(&reveal, "reveal", false, "print a secret itself")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print strings as JSON, too")
	return cmd
}
