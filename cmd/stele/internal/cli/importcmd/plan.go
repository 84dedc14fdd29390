package importcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/migrate"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
)

// plan is the effect of an import.
type plan struct {
	*session.Session
	tenants map[ledger.Tenant]*planned
	// misfits are the first names and values that the ledger cannot accept; unfits counts all.
	misfits []*misfit
	byFault map[string]*misfit
	unfits  int
	kept    int
	taken   int // items that the mapping has taken
	moved   moved
	notes   map[migrate.NoteKind][]migrate.Note
	// readings are the notes on files, which a history repeats.
	readings map[migrate.Note]bool
}

// misfit is a name that the ledger cannot accept, for one reason, in one or more steps.
type misfit struct {
	migrate.Unfit
	steps int
}

// planned is the effect of an import on one tenant.
type planned struct {
	Tenant     ledger.Tenant `json:"tenant"`
	ChangeSets int           `json:"change_sets"`
	Set        int           `json:"set"`
	Deleted    int           `json:"deleted"`
	// Present are the change sets that an earlier import has written.
	Present int `json:"present"`

	// requests are the earlier imports' change sets.
	requests map[request]bool
}

// request names a change set of an import.
type request struct{ author, id string }

// mostMisfits are listed one by one.
const mostMisfits = 50

func (p *plan) unfit(u migrate.Unfit) {
	fault := u.Name + "\x00" + u.Err.Error()
	if known := p.byFault[fault]; known != nil {
		known.steps++
		return
	}
	if p.byFault == nil {
		p.byFault = make(map[string]*misfit)
	}
	m := &misfit{u, 1}
	p.byFault[fault] = m
	if p.unfits++; len(p.misfits) < mostMisfits {
		p.misfits = append(p.misfits, m)
	}
}

// note keeps a note; a remark on a file is kept once, not for each step.
func (p *plan) note(n migrate.Note) {
	if p.notes == nil {
		p.notes = make(map[migrate.NoteKind][]migrate.Note)
		p.readings = make(map[migrate.Note]bool)
	}
	if n.Kind == migrate.NoteReading {
		n.Step = ""
		if p.readings[n] {
			return
		}
		p.readings[n] = true
	}
	p.notes[n.Kind] = append(p.notes[n.Kind], n)
}

func (p *plan) keep(ledger.Tenant, ledger.Key) { p.kept++ }

// read reads the source. With --dry-run it separates the change sets that the ledger has
// already; otherwise the import itself does.
func (p *plan) read(ctx context.Context, cfg migrate.Config, dryRun bool) error {
	lines := migrate.NewReader(ctx, cfg)
	defer lines.Close()
	bar := newProgress(-1)
	defer bar.close()
	for read := 0; ; read++ {
		bar.draw("reading the source: ", read, int64(read))
		line, err := lines.Next()
		switch {
		case errors.Is(err, io.EOF):
			p.taken = lines.Taken()
			return nil
		case err != nil:
			return err
		}
		t := p.tenants[line.Tenant]
		if t == nil {
			t = &planned{Tenant: line.Tenant}
			p.tenants[line.Tenant] = t
			if dryRun {
				if t.requests, err = (*imported)(p.Session).requests(ctx, line.Tenant); err != nil {
					return fmt.Errorf("list what %s has of the source: %w", line.Tenant, err)
				}
			}
		}
		if t.requests[request{line.ChangeSet.Author, line.ChangeSet.RequestID}] {
			t.Present++
			continue
		}
		t.ChangeSets++
		if !line.Claimed.IsZero() {
			p.moved.add(line)
		}
		for _, c := range line.ChangeSet.Changes {
			if c.Delete {
				t.Deleted++
			} else {
				t.Set++
			}
		}
	}
}

// report lists names and values that cannot be imported, which is an error without
// --skip-unfit, and with --dry-run the effect of the import.
func (p *plan) report(o importOptions) error {
	for _, u := range p.misfits {
		at := ""
		if u.Step != "" {
			at = " at " + u.Step
		}
		if u.steps > 1 {
			at += fmt.Sprintf(" (and %d later)", u.steps-1)
		}
		fmt.Fprintf(output.Stderr, "cannot import %q%s: %s\n", u.Name, at, failure.Message(u.Err))
	}
	if more := p.unfits - len(p.misfits); more > 0 {
		fmt.Fprintf(output.Stderr, "and %d more\n", more)
	}
	p.reportNotes(o)
	if o.dryRun {
		p.moved.report()
		if p.kept > 0 { // an import lists them at its end
			fmt.Fprintf(output.Stderr, "would keep %s with the prefix %q that the source does not have", output.Count(p.kept, "key"), o.into)
			if o.accepts("prune") {
				fmt.Fprint(output.Stderr, "; --prune deletes such keys")
			}
			fmt.Fprintln(output.Stderr)
		}
		if err := p.print(); err != nil {
			return err
		}
	}
	if p.unfits == 0 || o.skipUnfit {
		return nil
	}
	return failure.Try(failure.With(failure.Invalid, fmt.Errorf("nothing was imported: the ledger cannot accept %s of the source", output.Count(p.unfits, "name"))),
		"correct them in the source, --rename 's/,/-/g' for names, or --skip-unfit to leave them out")
}

// reportNotes lists values that are stored differently than in the source.
func (p *plan) reportNotes(o importOptions) {
	for _, kind := range []struct {
		kind         migrate.NoteKind
		what         string
		always       bool // not only with --dry-run
		line, header string
	}{
		{migrate.NoteRenamed, "name", false, "  %s becomes %s\n", "%s renamed:\n"},
		{migrate.NoteBytes, "value", true, "  %s: %s\n", "%s stored as other text than in the source (--as-strings keeps the bytes):\n"},
		{migrate.NoteReading, "remark", true, "  %s: %s\n", "%s on how files were read:\n"},
	} {
		notes := p.notes[kind.kind]
		if len(notes) == 0 || !kind.always && !o.dryRun {
			continue
		}
		fmt.Fprintf(output.Stderr, kind.header, output.Count(len(notes), kind.what))
		for _, n := range notes[:min(len(notes), mostMisfits)] {
			fmt.Fprintf(output.Stderr, kind.line, n.Name, n.What)
		}
		if more := len(notes) - mostMisfits; more > 0 {
			fmt.Fprintf(output.Stderr, "  and %d more\n", more)
		}
	}
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
		rows = append(rows, []string{string(t.Tenant), fmt.Sprint(t.ChangeSets), fmt.Sprint(t.Set), fmt.Sprint(t.Deleted), fmt.Sprint(t.Present)})
	}
	switch {
	case p.Format != output.Text:
		return nil
	case len(rows) == 0:
		return p.Printf("there is nothing to import\n")
	}
	return p.Table([]string{"TENANT", "CHANGE SETS", "SET", "DELETED", "ALREADY THERE"}, rows, -1)
}
