package access

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

func WhoamiCommand(c *session.Flags) *cobra.Command {
	return &cobra.Command{
		Use:   "whoami",
		Short: "Show your identity at the gateway",
		Args:  cobra.NoArgs,
		RunE: c.Connected(func(ctx context.Context, s *session.Session, _ []string) error {
			st, err := s.Ledger.GetStatus(ctx, &stelev1.GetStatusRequest{})
			if err != nil {
				return err
			}
			if s.Format == output.Text {
				return printWho(s, st.Principal)
			}
			data, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(st.Principal)
			if err != nil {
				return err
			}
			return s.Object(json.RawMessage(data))
		}),
	}
}

func printWho(s *session.Session, p *stelev1.Principal) error {
	rows := render.Principal(p)
	for _, a := range p.Allowed {
		where := "everything"
		if !slices.Contains(a.Prefixes, "") {
			where = "keys under " + strings.Join(a.Prefixes, ", ")
		}
		rows = append(rows, [2]string{a.Operation, where})
	}
	for _, row := range rows {
		if err := s.Printf("%s  %s\n", output.Faint.Render(fmt.Sprintf("%-10s", row[0])), row[1]); err != nil {
			return err
		}
	}
	return nil
}
