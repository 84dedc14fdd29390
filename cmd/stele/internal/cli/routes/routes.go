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
		Long: `Show the routes in force: which keys go to which sinks. For each key, the route
with the longest matching prefix applies. With -o json or yaml the output is the
document that "stele routes set" accepts.

The routes are the value of the key projector/routes in the ledger's own tenant,
_system, so you can query their history and roll them back. Until that key is
set, the gateway's configuration applies. Only operators can read them.`,
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
	if err := s.Printf("%s  %s\n", output.Faint.Render("from  "), originOf(resp)); err != nil {
		return err
	}
	if t.Strict {
		if err := s.Printf("%s  keys without a route are rejected\n", output.Faint.Render("strict")); err != nil {
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

// section prints a table after an empty line, or nothing if it has no rows.
func section(s *output.Printer, header []string, rows [][]string) error {
	if len(rows) == 0 {
		return nil
	}
	if err := s.Printf("\n"); err != nil {
		return err
	}
	return s.Table(header, rows, len(header)-1)
}

func originOf(resp *stelev1.GetRoutesResponse) string {
	if resp.Revision == 0 {
		return "the gateway's configuration (the ledger has no routes)"
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
		Long: `Show the route that applies to a key, and the sinks that the key goes to. The
exit code is 3 if no route matches.`,
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
		return failure.With(failure.NotFound, fmt.Errorf("%s has no route and the routes are strict, so it cannot be set", key))
	case r == nil:
		return failure.With(failure.NotFound, fmt.Errorf("%s has no route: it is stored and served, but goes to no sink", key))
	case s.Format == output.Text:
		return s.Printf("%s matches the route %s and goes to %s\n", key, cmp.Or(string(r.Prefix), "*"), sinksOf(r))
	}
	return s.Object(struct {
		Key    ledger.Key     `json:"key"`
		Prefix ledger.Pattern `json:"prefix"`
		Sinks  []string       `json:"sinks"`
		Drift  routes.Drift   `json:"drift"`
	}{key, r.Prefix, append([]string{}, r.Sinks...), r.Drift})
}
