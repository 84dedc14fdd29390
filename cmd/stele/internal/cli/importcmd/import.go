// Package importcmd has the command import: files of commits, and other configuration
// stores.
package importcmd

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/changelog"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/importer"
	"github.com/stelehq/stele/cmd/stele/internal/input"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func ImportCommand(c *session.Flags) *cobra.Command {
	var o importOptions
	cmd := &cobra.Command{
		Use:   "import FILE | --from KIND SOURCE",
		Short: "Import a history or an export, or from etcd, Consul, Parameter Store, git or files",
		Long: `Import a change log (JSON lines, optionally compressed with gzip; "-" for
standard input) with the time and author of each change set. This requires the
admin role. The output of "stele log --reverse -n 0 -o json" is a change log.
The output of "stele export" is imported as your own change with the current
time.

You can run an interrupted import again: nothing is written twice. -t imports
only the lines of one tenant. docs/changelog-format.md describes the format.

--from imports from another system (see docs/migrate.md):

  etcd            endpoints; every uncompacted revision becomes a commit
  consul          a file written by "consul kv export", or an agent's http://...
  parameterstore  a path; every version of every parameter below it
  git             a repository; every commit that changed a settings file
  files           a directory or a file, without a history

git and files read YAML, JSON (also with comments), TOML, .properties and .env.

Names that begin with --prefix get --into in its place. {tenant} in the prefix
takes the tenant from the name; otherwise -t sets it. The whole source is read
first: if the ledger cannot accept some names or values, they are listed and
nothing is written.`,
		Example: `  stele import settings.jsonl.gz
  stele export > acme.jsonl && stele -t acme2 import acme.jsonl
  stele -t acme import --from etcd 127.0.0.1:2379 --prefix /config/ --dry-run
  stele import --from consul kv.json --prefix 'config/{tenant}/' --into app/
  stele import --from parameterstore / --prefix '/{tenant}/prod/' --into app/
  stele -t acme import --from git repo --prefix config/ --into app/ --flatten
  stele -t acme import --from files ./config --into tenantconfig/`,
		Args: cobra.ExactArgs(1),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := o.check(cmd.Flags()); err != nil {
			return err
		}
		s, err := c.Connect()
		if err != nil {
			return err
		}
		defer s.Conn.Close()
		if o.from == "" {
			return importFile(cmd.Context(), s, args[0])
		}
		return importFrom(cmd.Context(), s, o, args[0])
	}
	o.addFlags(cmd)
	return cmd
}

func importFile(ctx context.Context, s *session.Session, name string) error {
	file, size, err := input.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	log, err := changelog.NewReader(file, s.Tenant)
	if err != nil {
		return failure.With(failure.Invalid, fmt.Errorf("%s: %w", name, err))
	}
	return importLog(ctx, s, log, size, nil, func(at *importer.LineError) error {
		var order *changelog.OrderError
		if !errors.As(at, &order) {
			fmt.Fprintln(output.Stderr, "all lines before it are imported; run the import again to continue, nothing is written twice")
		}
		return blame(fmt.Sprintf("%s:%d", name, at.Number), at)
	})
}

// importLog writes the lines, and reports the result. The size is the number of bytes
// to read, -1 if unknown. Once all is written, the comparison, unless it is nil, compares the
// ledger with the source. An invalid line is reported by bad.
func importLog(ctx context.Context, s *session.Session, log importer.Log, size int64, c *comparison, bad func(*importer.LineError) error) error {
	own := s.TokenTenant()
	cfg := importer.Config{Client: s.Ledger, ForTenant: func(ctx context.Context, t ledger.Tenant) context.Context {
		if t == own {
			return ctx
		}
		return conn.AsTenant(ctx, t)
	}}
	if s.Settings.TenantChosen {
		cfg.Only = s.Tenant
	}
	cfg.Present = (*imported)(s).present
	bar := newProgress(size)
	cfg.Acknowledged = bar.acknowledged
	var moved moved
	cfg.Moved = moved.add
	started := time.Now()
	tallies, err := importer.Run(ctx, cfg, log)
	bar.close()
	moved.report()
	var none *importer.NoLinesError
	if errors.As(err, &none) {
		return failure.Try(failure.With(failure.NotFound, err), "-t %s, or a copy of the file that names %s", none.First, none.Tenant)
	}
	var agreements map[ledger.Tenant]*agreement
	if err == nil && c != nil {
		agreements, err = c.compare(ctx)
	}
	if reportErr := reportImport(s, tallies, c, agreements, time.Since(started)); reportErr != nil {
		return reportErr
	}
	var at *importer.LineError
	switch {
	case err == nil && c != nil:
		return c.disagreement(agreements)
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(output.Stderr, "interrupted: run the import again to continue; nothing is written twice")
	case errors.As(err, &at):
		return bad(at)
	}
	return err
}

// present reports whether the tenant has the very commit that the line is of.
func (i *imported) present(ctx context.Context, l *changelog.Line) (bool, error) {
	resp, err := i.Ledger.GetCommit(i.as(ctx, l.Tenant), &stelev1.GetCommitRequest{Commit: &stelev1.GetCommitRequest_Revision{Revision: uint64(l.Revision)}})
	switch status.Code(err) {
	case codes.OK:
		return hex.EncodeToString(resp.Info.Id) == l.ID, nil
	case codes.OutOfRange, codes.NotFound:
		return false, nil
	}
	return false, err
}

// blame is the failure of a line at a place, with the exit code of the gateway's error,
// or the exit code for an invalid value if the line cannot be read.
func blame(place string, at *importer.LineError) error {
	code := failure.Code(at.Err)
	if code == failure.Other {
		code = failure.Invalid
	}
	if session.OutcomeUnknown(at.Err) {
		code = failure.Other
	}
	lines := failure.Lines(at.Err)
	err := fmt.Errorf("%s: %s", place, lines[0])
	for _, more := range lines[1:] {
		err = fmt.Errorf("%w\n%s", err, more)
	}
	return failure.With(code, err)
}

// reportImport prints the result, one tenant per line.
func reportImport(s *session.Session, tallies []importer.Tally, c *comparison, agreements map[ledger.Tenant]*agreement, took time.Duration) error {
	for t, a := range agreements {
		i := slices.IndexFunc(tallies, func(of importer.Tally) bool { return of.Tenant == t })
		if i < 0 && (a.head > 0 || s.Format != output.Text) { // programs get an object of each tenant
			i, tallies = len(tallies), append(tallies, importer.Tally{Tenant: t})
		}
		if i >= 0 {
			tallies[i].Head = max(tallies[i].Head, a.head)
		}
	}
	slices.SortFunc(tallies, func(a, b importer.Tally) int { return cmp.Compare(a.Tenant, b.Tenant) })
	if s.Format != output.Text {
		for _, t := range tallies {
			if err := s.Object(struct {
				Tenant  ledger.Tenant   `json:"tenant"`
				Head    ledger.Revision `json:"revision,omitempty"`
				Written int             `json:"written"`
				Present int             `json:"present"`
				Moved   int             `json:"moved"`
				// Origins counts the origins of commits that the import has replaced, by kind.
				Origins map[string]int `json:"origins_replaced,omitempty"`
				// Pinned are the bases that the tenant followed in the source.
				Pinned []ledger.Tenant `json:"pinned,omitempty"`
				*agreement
			}{t.Tenant, t.Head, t.Written, t.Present, t.Moved, t.Origins, t.Follows, agreements[t.Tenant]}); err != nil {
				return err
			}
		}
		return nil
	}
	if c != nil {
		c.report(agreements)
	}
	rows, total, moved, origins := [][]string(nil), 0, 0, make(map[string]int)
	for _, t := range tallies {
		rows = append(rows, []string{render.Revision(fmt.Sprintf("%s%s", t.Tenant, t.Head)), fmt.Sprint(t.Written), fmt.Sprint(t.Present)})
		total += t.Written + t.Present
		moved += t.Moved
		for kind, n := range t.Origins {
			origins[kind] += n
		}
	}
	if len(rows) > 0 {
		if err := s.Table([]string{"REVISION", "WRITTEN", "ALREADY THERE"}, rows, -1); err != nil {
			return err
		}
	}
	if moved > 0 {
		if err := s.Printf("%s written with another time than in the source\n", output.Count(moved, "change set")); err != nil {
			return err
		}
	}
	if err := reportOrigins(s, origins); err != nil {
		return err
	}
	for _, t := range tallies {
		for _, base := range t.Follows {
			if err := s.Printf("%s followed %s, and is pinned now; to follow it again: stele -t %s base follow %s\n", t.Tenant, base, t.Tenant, base); err != nil {
				return err
			}
		}
	}
	if total == 0 {
		if len(rows) > 0 {
			return nil
		}
		return s.Printf("nothing to import\n")
	}
	return s.Printf("%s in %s, %.0f/s\n", output.Count(total, "change set"), took.Round(time.Millisecond), float64(total)/took.Seconds())
}

// reportOrigins reports the origins that were replaced, by kind.
func reportOrigins(s *session.Session, origins map[string]int) error {
	if len(origins) == 0 {
		return nil
	}
	total := 0
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(origins)) {
		total += origins[kind]
		kinds = append(kinds, fmt.Sprintf("%s %d", kind, origins[kind]))
	}
	return s.Printf("the import replaces the origin of %s: %s\n", output.Count(total, "change set"), strings.Join(kinds, ", "))
}

// progress draws a bar on a terminal, and nothing elsewhere.
type progress struct {
	bar     *progressbar.ProgressBar
	started time.Time
	drawn   time.Time
}

func newProgress(size int64) *progress {
	return &progress{bar: render.NewBar(size, progressbar.OptionShowBytes(size >= 0)), started: time.Now()}
}

func (p *progress) acknowledged(changeSets int, offset int64) { p.draw("", changeSets, offset) }

// draw draws the bar, if the last time is long enough ago.
func (p *progress) draw(doing string, changeSets int, offset int64) {
	const often = 100 * time.Millisecond
	if p.bar == nil || time.Since(p.drawn) < often {
		return
	}
	p.drawn = time.Now()
	p.bar.Describe(fmt.Sprintf("%s%s, %.0f/s", doing, output.Count(changeSets, "change set"), float64(changeSets)/time.Since(p.started).Seconds()))
	// A failure to draw the bar does not stop the import.
	_ = p.bar.Set64(offset)
}

func (p *progress) close() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}
