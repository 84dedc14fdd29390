package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/migrate"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/ledger"
)

// plan is what an import would write.
type plan struct {
	*session
	tenants map[ledger.Tenant]*planned
	// misfits are the first that do not fit, of so many.
	misfits []migrate.Unfit
	unfits  int
	kept    int
}

// planned is what of it is one tenant's.
type planned struct {
	Tenant     ledger.Tenant `json:"tenant"`
	ChangeSets int           `json:"change_sets"`
	Set        int           `json:"set"`
	Deleted    int           `json:"deleted"`
}

// mostMisfits are told one by one.
const mostMisfits = 50

func (p *plan) unfit(u migrate.Unfit) {
	if p.unfits++; len(p.misfits) < mostMisfits {
		p.misfits = append(p.misfits, u)
	}
}

func (p *plan) keep(ledger.Tenant, ledger.Key) { p.kept++ }

func (p *plan) read(ctx context.Context, cfg migrate.Config) error {
	lines := migrate.NewReader(ctx, cfg)
	defer lines.Close()
	for {
		line, err := lines.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		t := p.tenants[line.Tenant]
		if t == nil {
			t = &planned{Tenant: line.Tenant}
			p.tenants[line.Tenant] = t
		}
		t.ChangeSets++
		for _, c := range line.ChangeSet.Changes {
			if c.Delete {
				t.Deleted++
			} else {
				t.Set++
			}
		}
	}
}

// tell says what does not fit, which is an error unless it is to be left out, and
// with --dry-run what would be written.
func (p *plan) tell(o importOptions) error {
	for _, u := range p.misfits {
		fmt.Fprintf(os.Stderr, "does not fit: %q at %s: %s\n", u.Name, u.Step, failure.Message(u.Err))
	}
	if more := p.unfits - len(p.misfits); more > 0 {
		fmt.Fprintf(os.Stderr, "and %d more\n", more)
	}
	if p.kept > 0 {
		fmt.Fprintf(os.Stderr, "%d keys that begin with %q are not in the source and stay: --prune deletes them\n", p.kept, o.into)
	}
	if o.dryRun {
		if err := p.print(); err != nil {
			return err
		}
	}
	if p.unfits == 0 || o.skipUnfit {
		return nil
	}
	return failure.Try(failure.With(failure.Invalid, fmt.Errorf("nothing was imported: %d of the names and values do not fit", p.unfits)),
		"mend them in the source, or --skip-unfit to leave them out: such a key keeps what it had")
}

func (p *plan) print() error {
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(p.tenants)) {
		t := p.tenants[name]
		if p.Format != output.Text {
			if err := p.Object(t); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, []string{string(t.Tenant), fmt.Sprint(t.ChangeSets), fmt.Sprint(t.Set), fmt.Sprint(t.Deleted)})
	}
	switch {
	case p.Format != output.Text:
		return nil
	case len(rows) == 0:
		return p.Printf("there is nothing to import\n")
	}
	return p.Table([]string{"TENANT", "CHANGE SETS", "SET", "DELETED"}, rows, -1)
}
