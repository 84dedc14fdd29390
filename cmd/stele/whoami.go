package main

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

func whoamiCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "whoami",
		Short: "Tell who the gateway takes you for",
		Args:  cobra.NoArgs,
		RunE: c.connected(func(ctx context.Context, s *session, _ []string) error {
			st, err := s.ledger.GetStatus(ctx, &stelev1.GetStatusRequest{})
			if err != nil {
				return err
			}
			if s.Format == output.Text {
				return s.Printf("%s\n", principal(st.Principal))
			}
			data, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(st.Principal)
			if err != nil {
				return err
			}
			return s.Object(rawObject(data))
		}),
	}
}
