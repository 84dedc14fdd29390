package health

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/diagnosis"
	"github.com/stelehq/stele/internal/gateway/fleet"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

func GatewaysCommand(c *session.Flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "gateways",
		Short: "List the gateways of the ledger (operators only)",
		Long: `List the processes of the ledger and the edge gateways below them, as they have
last reported themselves. A gateway reports every 10 seconds. One that no longer
reports is listed for an hour.`,
		Args: cobra.NoArgs,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, _ []string) error {
		resp, err := s.Ledger.ListGateways(ctx, &stelev1.ListGatewaysRequest{})
		if err != nil {
			return err
		}
		var rows [][]string
		for _, g := range resp.Gateways {
			if s.Format != output.Text {
				data, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(g)
				if err != nil {
					return err
				}
				if err := s.Object(json.RawMessage(data)); err != nil {
					return err
				}
				continue
			}
			rows = append(rows, gatewayRow(g))
		}
		if len(rows) == 0 {
			return nil
		}
		if err := s.Table([]string{"HOST", "ADDRESS", "VERSION", "ROLES", "POSITION", "AGE", "UPSTREAM", "STATE"}, rows, -1); err != nil {
			return err
		}
		for _, p := range diagnosis.Differences(resp.Gateways, time.Now()) {
			output.Warn(output.Plain(fmt.Sprintf("%s; try: %s", p.What, p.Try)))
		}
		return nil
	})
	return cmd
}

func gatewayRow(g *stelev1.GatewayStatus) []string {
	age := "catching up"
	if g.Journal.GetAge() != nil {
		age = g.Journal.Age.AsDuration().Round(time.Millisecond).String()
	}
	upstream := "journal"
	if len(g.Path) > 0 {
		upstream = g.Path[0]
	}
	state := "running since " + render.Clock(g.Started)
	switch silent := time.Since(g.Seen.AsTime()); {
	case silent > fleet.Silent:
		state = output.Bad.Render("last seen " + silent.Round(time.Second).String() + " ago")
	case g.Stopped != "":
		state = output.Bad.Render(output.Plain(g.Stopped))
	case g.Damaged != "":
		state = output.Bad.Render(output.Plain("the journal is damaged: " + g.Damaged))
	}
	row := []string{g.Host, g.Address, g.Version, strings.Join(slices.Sorted(slices.Values(g.Roles)), ","), fmt.Sprint(g.Journal.GetPosition()), age, upstream}
	for i := range row { // an edge's own word
		row[i] = output.Plain(row[i])
	}
	return append(row, state)
}
