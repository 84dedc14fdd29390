package bases

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/changefile"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/input"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/wire"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// reachObject is how a change reaches a tenant, for programs.
type reachObject struct {
	Tenant   string   `json:"tenant"`
	Revision uint64   `json:"revision"`
	Follow   bool     `json:"follow"`
	Reached  uint32   `json:"reached"`
	Hidden   []string `json:"hidden,omitempty"`
}

func impactCommand(c *session.Flags) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "impact BASE -f FILE",
		Short: "Show which tenants a change of a base would reach (operators only)",
		Long: `Show the tenants that inherit from a base, and how a change set would reach each
of them: how many of its keys would change, and which of them the tenant
overrides. A tenant that is pinned keeps its values until its pin moves. Nothing
is written; "stele -t BASE apply -f FILE" applies the file.`,
		Example: `  stele base impact plan-enterprise -f change.yaml`,
		Args: func(_ *cobra.Command, args []string) error {
			if file == "" {
				return errors.New("impact requires -f FILE")
			}
			return cobra.ExactArgs(1)(nil, args)
		},
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		base, err := ledger.ParseTenant(args[0])
		if err != nil {
			return failure.With(failure.Usage, err)
		}
		data, err := input.Read(file)
		if err != nil {
			return err
		}
		f, err := changefile.Parse(data)
		if err != nil {
			return failure.With(failure.Invalid, fmt.Errorf("%s: %w", file, err))
		}
		return impact(conn.AsTenant(ctx, base), s, base, &f.ChangeSet)
	})
	cmd.Flags().StringVarP(&file, "file", "f", "", `change set, "-" for standard input`)
	return cmd
}

func impact(ctx context.Context, s *session.Session, base ledger.Tenant, cs *ledger.ChangeSet) error {
	req := &stelev1.PreviewBaseChangeRequest{Changes: wire.CommitRequest(cs).Changes, PageSize: 1000}
	var table *output.Table
	for {
		resp, err := stelev1.NewBasesClient(s.Conn).PreviewBaseChange(ctx, req)
		if err != nil {
			return err
		}
		if s.Format == output.Text && table == nil {
			if resp.Total == 0 {
				return render.Nothing(s.Printer, fmt.Sprintf("%s is not a base of any tenant", base))
			}
			if err := s.Printf("%s of %s: %s, %d following\n", output.Count(len(req.Changes), "change"), base, output.Count(int(resp.Total), "tenant"), resp.Following); err != nil {
				return err
			}
		}
		var rows [][]string
		for _, t := range resp.Tenants {
			if s.Format != output.Text {
				if err := s.Object(reachObject{t.Tenant, t.Revision, t.Follow, t.Reached, t.Hidden}); err != nil {
					return err
				}
				continue
			}
			how := "follows"
			if !t.Follow {
				how = "pinned at " + ledger.Revision(t.Revision).String()
			}
			hidden := strings.Join(t.Hidden, ", ")
			if more := int(t.HiddenTotal) - len(t.Hidden); more > 0 {
				hidden += fmt.Sprintf(" and %d more", more)
			}
			rows = append(rows, []string{t.Tenant, how, fmt.Sprint(t.Reached), hidden})
		}
		if len(rows) > 0 {
			if table == nil {
				table = s.NewTable([]string{"TENANT", "STATE", "CHANGED", "OVERRIDDEN"}, rows, 3)
			}
			if err := table.Write(rows); err != nil {
				return err
			}
		}
		if req.PageToken = resp.NextPageToken; req.PageToken == "" {
			return nil
		}
	}
}
