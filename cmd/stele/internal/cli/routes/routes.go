// Package routes has the commands that show and set routes.
package routes

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/cmd/stele/internal/routefile"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func RoutesCommand(c *session.Flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "routes",
		Short: "Show which keys go to which sinks",
		Long: `Show the routes in force: which keys go to which sinks. The route with the longest
prefix that a key begins with decides about the key. With -o json or yaml it is the
document, as "stele routes set" takes it.

The routes are the value of a key of the ledger's own tenant, _system, so that they
have a history and a way back; without it, the gateway's configuration counts. They
are for operators.`,
		Example: `  stele routes -o yaml > routes.yaml
  stele routes set -f routes.yaml -m "also send flags to the bus"
  stele routes test tenantconfig/checkout/timeout_ms
  stele -t _system log projector/routes`,
		Args: cobra.NoArgs,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, _ []string) error {
		resp, err := s.Sinks.GetRoutes(ctx, &stelev1.GetRoutesRequest{})
		if err != nil {
			return err
		}
		if s.Format != output.Text {
			return s.Object(json.RawMessage([]byte(resp.Routes)))
		}
		return printRoutes(s, resp)
	})
	cmd.AddCommand(routesSetCommand(c), routesTestCommand(c))
	return cmd
}

func printRoutes(s *session.Session, resp *stelev1.GetRoutesResponse) error {
	t, err := routefile.FromGateway(resp)
	if err != nil {
		return err
	}
	if err := s.Printf("%s  %s\n", output.Faint.Render("from  "), whereFrom(resp)); err != nil {
		return err
	}
	if t.Strict {
		if err := s.Printf("%s  a key without a route is refused\n", output.Faint.Render("strict")); err != nil {
			return err
		}
	}
	var rows [][]string
	for _, r := range t.Routes() {
		rows = append(rows, []string{cmp.Or(string(r.Prefix), "*"), sinksOf(r), string(r.Drift), routeOptions(r)})
	}
	if err := section(s.Printer, []string{"KEYS", "SINKS", "DRIFT", "OPTIONS"}, rows); err != nil {
		return err
	}
	rows = nil
	for _, name := range slices.Sorted(maps.Keys(t.Sinks)) {
		rows = append(rows, []string{name, t.Sinks[name].Kind, string(t.Sinks[name].Settings)})
	}
	return section(s.Printer, []string{"SINK", "KIND", "SETTINGS"}, rows)
}

// section is a table after an empty line; nothing without rows.
func section(s *output.Printer, header []string, rows [][]string) error {
	if len(rows) == 0 {
		return nil
	}
	if err := s.Printf("\n"); err != nil {
		return err
	}
	return s.Table(header, rows, len(header)-1)
}

func whereFrom(resp *stelev1.GetRoutesResponse) string {
	if resp.Revision == 0 {
		return "the gateway's configuration: the ledger has none"
	}
	return render.Revision(fmt.Sprintf("%s%s", ledger.System, ledger.Revision(resp.Revision)))
}

func sinksOf(r *routes.Route) string {
	if len(r.Sinks) == 0 {
		return "none"
	}
	return strings.Join(r.Sinks, ", ")
}

func routeOptions(r *routes.Route) string {
	var options []string
	if r.AdoptDeletions {
		options = append(options, "adopt_deletions")
	}
	if r.Secure {
		options = append(options, "secure")
	}
	if r.Secret {
		options = append(options, "secret")
	}
	if r.KMSKey != "" {
		options = append(options, "kms_key "+output.Plain(r.KMSKey))
	}
	if r.Values {
		options = append(options, "values")
	}
	if len(options) == 0 {
		return "-"
	}
	return strings.Join(options, ", ")
}

func routesTestCommand(c *session.Flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test KEY",
		Short: "Show the route of a key",
		Long: `Show which of the routes in force decides about a key, and to which sinks it goes.
The exit code is 3 where no route wants it.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.CompleteKey,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		key, err := ledger.ParseKey(args[0])
		if err != nil {
			return failure.With(failure.Invalid, err)
		}
		resp, err := s.Sinks.GetRoutes(ctx, &stelev1.GetRoutesRequest{})
		if err != nil {
			return err
		}
		t, err := routefile.FromGateway(resp)
		if err != nil {
			return err
		}
		return testRoute(s, t, key)
	})
	return cmd
}

func testRoute(s *session.Session, t *routes.Table, key ledger.Key) error {
	r := t.Route(key)
	switch {
	case r == nil && t.Strict:
		return failure.With(failure.NotFound, fmt.Errorf("%s has no route, and the routes are strict: it cannot be set", key))
	case r == nil:
		return failure.With(failure.NotFound, fmt.Errorf("%s has no route: it goes to no sink, and is stored and served like any other key", key))
	case s.Format == output.Text:
		return s.Printf("%s goes by the route of %s to %s\n", key, cmp.Or(string(r.Prefix), "*"), sinksOf(r))
	}
	return s.Object(struct {
		Key    ledger.Key     `json:"key"`
		Prefix ledger.Pattern `json:"prefix"`
		Sinks  []string       `json:"sinks"`
		Drift  routes.Drift   `json:"drift"`
	}{key, r.Prefix, append([]string{}, r.Sinks...), r.Drift})
}
