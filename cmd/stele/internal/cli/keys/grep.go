package keys

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/asof"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/proto"
)

// grepFlags are the flags of stele grep.
type grepFlags struct {
	at           string
	where        string
	path         string
	ignoreCase   bool
	keys, values bool
	allTenants   bool
}

func GrepCommand(c *session.Flags) *cobra.Command {
	var f grepFlags
	cmd := &cobra.Command{
		Use:   "grep PATTERN [PREFIX]",
		Short: "Search keys and values",
		Long: `Search the keys and values under a prefix for a regular expression (RE2), or
with --where for a condition in CEL over the variables key and value. --path
selects a member of the values: only the member is searched, and value in a
condition is that member. The exit code is 3 if nothing matches.

Secrets are never searched, only their names. With --all-tenants (operators
only) each tenant is searched by a call of its own, which is recorded for that
tenant.`,
		Example: `  stele grep 'db-[0-9]+\.internal'
  stele grep -i --keys timeout tenantconfig/
  stele grep --path /timeout_ms --where 'value > 5000' tenantconfig/checkout
  stele grep --where 'key.endsWith("/enabled") && value == false' --all-tenants
  stele grep oldhost --at @2025-03-04T08:00Z`,
		Args: func(cmd *cobra.Command, args []string) error {
			if f.allTenants && c.Choice.Tenant != "" {
				return fmt.Errorf("--tenant cannot be combined with --all-tenants")
			}
			if f.where != "" && len(args) > 1 {
				return fmt.Errorf("--where takes the place of the pattern: name at most one prefix")
			}
			if f.where != "" {
				return nil
			}
			return cobra.RangeArgs(1, 2)(cmd, args)
		},
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		req := &stelev1.SearchRequest{IgnoreCase: f.ignoreCase, Path: f.path, Where: f.where, PageSize: grepPage}
		if f.where == "" {
			req.Pattern, args = args[0], args[1:]
		}
		req.Prefix = session.FirstArg(args)
		switch {
		case f.keys && f.values:
		case f.keys:
			req.In = stelev1.SearchRequest_IN_KEYS
		case f.values:
			req.In = stelev1.SearchRequest_IN_VALUES
		}
		at, err := grepAsOf(f.at)
		if err != nil {
			return err
		}
		if f.allTenants {
			return grepAll(cmd.Context(), s, req, at) // the session's context may act for a tenant
		}
		r, err := grepTenant(ctx, s, req, at)
		if err != nil {
			return err
		}
		return printGrep(ctx, s, []grepResult{r}, false)
	})
	flags := cmd.Flags()
	flags.StringVar(&f.at, "at", "", "revision or time to search")
	flags.BoolVarP(&f.ignoreCase, "ignore-case", "i", false, "ignore the case of letters")
	flags.BoolVar(&f.keys, "keys", false, "search only keys")
	flags.BoolVar(&f.values, "values", false, "search only values")
	flags.StringVar(&f.path, "path", "", "member of the values to search, as a JSON Pointer, for example /limits/timeout_ms")
	flags.StringVar(&f.where, "where", "", "condition in CEL that must be true, for example 'value > 5000'")
	flags.BoolVar(&f.allTenants, "all-tenants", false, "search every tenant")
	return cmd
}

// grepPage is how many matches a call returns.
const grepPage = 1000

// grepAsOf reads the flag --at; nil is the head.
func grepAsOf(text string) (*asof.Ref, error) {
	if text == "" {
		return nil, nil
	}
	m, err := session.ParseAsOf(text)
	return &m, err
}

// grepResult is what a tenant's search has found.
type grepResult struct {
	tenant                 string // set if all are searched
	matches                []*stelev1.SearchMatch
	secrets, notComparable int
}

// grepAll searches every tenant, and prints what it finds in their order.
func grepAll(ctx context.Context, s *session.Session, req *stelev1.SearchRequest, at *asof.Ref) error {
	heads, err := s.Tenants(ctx)
	if err != nil {
		return err
	}
	tenants := make([]ledger.Tenant, len(heads))
	for i, h := range heads {
		tenants[i] = ledger.Tenant(h.Tenant)
	}
	results := make([]grepResult, len(tenants))
	err = session.EachTenant(ctx, tenants, func(ctx context.Context, i int) (err error) {
		if results[i], err = grepTenant(ctx, s, req, at); err != nil {
			return fmt.Errorf("search %s: %w", tenants[i], err)
		}
		results[i].tenant = string(tenants[i])
		return nil
	})
	if err != nil {
		return err
	}
	return printGrep(ctx, s, results, true)
}

// printGrep prints the matches, with a column for the tenant if all were searched. What
// could not be searched goes to standard error.
func printGrep(ctx context.Context, s *session.Session, results []grepResult, allTenants bool) error {
	var all grepResult
	for _, r := range results {
		all.matches = append(all.matches, r.matches...)
		all.secrets += r.secrets
		all.notComparable += r.notComparable
	}
	if len(all.matches) == 0 {
		if err := s.Absent(ctx); err != nil {
			return err
		}
		return failure.With(failure.NotFound, fmt.Errorf("no key matches%s", all.unsearched(": ")))
	}
	if note := all.unsearched(""); note != "" {
		defer fmt.Fprintln(output.Stderr, note)
	}
	if s.Format != output.Text {
		for _, r := range results {
			for _, m := range r.matches {
				if err := s.Object(grepMatch{r.tenant, m.Key, m.Revision, m.Text}); err != nil {
					return err
				}
			}
		}
		return nil
	}
	header := entryHeader
	if allTenants {
		header = append([]string{"TENANT"}, header...)
	}
	var rows [][]string
	for _, r := range results {
		for _, m := range r.matches {
			row := []string{m.Key, render.Revision(ledger.Revision(m.Revision).String()), m.Text}
			if allTenants {
				row = append([]string{r.tenant}, row...)
			}
			rows = append(rows, row)
		}
	}
	return s.Table(header, rows, len(header)-1)
}

// grepTenant searches one tenant: all pages, at the revision of the first.
func grepTenant(ctx context.Context, s *session.Session, req *stelev1.SearchRequest, at *asof.Ref) (r grepResult, err error) {
	page := proto.CloneOf(req)
	if at != nil {
		if page.At, err = s.Resolve(ctx, *at); err != nil {
			return r, err
		}
	}
	for {
		resp, err := s.Config.Search(ctx, page)
		if err != nil {
			return r, err
		}
		r.matches = append(r.matches, resp.Matches...)
		r.secrets += int(resp.SecretsSkipped)
		r.notComparable += int(resp.NotComparable)
		if page.PageToken = resp.NextPageToken; page.PageToken == "" {
			return r, nil
		}
	}
}

// unsearched lists what could not be searched; before introduces a list that is not empty.
func (r grepResult) unsearched(before string) string {
	var parts []string
	if r.secrets > 0 {
		parts = append(parts, output.Count(r.secrets, "secret")+" not searched")
	}
	if r.notComparable > 0 {
		parts = append(parts, "the condition does not apply to "+output.Count(r.notComparable, "value"))
	}
	if len(parts) == 0 {
		return ""
	}
	return before + strings.Join(parts, "; ")
}

// grepMatch is a match, for programs. The tenant is set if all are searched.
type grepMatch struct {
	Tenant   string `json:"tenant,omitempty"`
	Key      string `json:"key"`
	Revision uint64 `json:"revision"`
	Text     string `json:"text"`
}
