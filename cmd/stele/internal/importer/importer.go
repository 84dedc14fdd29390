// Package importer writes a change log into the ledger: every line once, in the order
// of its tenant, however often it is interrupted and run again.
//
// One stream per tenant keeps a window of change sets in flight. Every change set
// carries a request id made from its line, so lines that were sent and not acknowledged
// are sent again without being written twice. A line that is invalid, or that the
// ledger rejects, stops the reading; earlier lines are sent and acknowledged first.
package importer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sort"
	"sync"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/changelog"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Config has the dependencies of an import.
type Config struct {
	Client stelev1.LedgerClient
	// ForTenant makes the context of a stream that acts for the tenant.
	ForTenant func(context.Context, ledger.Tenant) context.Context
	// Only restricts the import to one tenant's lines; empty for all.
	Only ledger.Tenant
	// Present, if set, reports whether the ledger has the commit that a line with an ID
	// is of, so that the line is not written.
	Present func(context.Context, *changelog.Line) (bool, error)
	// Acknowledged is called after each acknowledgement, one at a time, with the
	// change sets acknowledged so far and how far into the file they reach.
	Acknowledged func(changeSets int, offset int64)
	// Moved, if set, is called for each change set that was written with another time
	// than it has in the source, one at a time.
	Moved func(*changelog.Line)
	// GiveUp is how long the gateway may be away; a minute when 0.
	GiveUp time.Duration
	// Drain is how long an interrupted import waits for acknowledgements of what
	// is in flight; ten seconds when 0.
	Drain time.Duration
}

// Log is the input of an import: lines, and io.EOF after the last one. Each tenant's
// are in order, and their numbers grow.
type Log interface {
	Next() (*changelog.Line, error)
}

// Tally counts one tenant's change sets.
type Tally struct {
	Tenant ledger.Tenant
	// Written now, and Present before: from an earlier run, or because it changes nothing.
	Written, Present int
	// Moved are those written with another time than in the source.
	Moved int
	// Origins counts those written that had an origin in the source, by its kind.
	Origins map[string]int
	// Follows are the bases that the tenant follows in the source, and are pinned here.
	Follows []ledger.Tenant
	// Head is the newest revision of the tenant that this import wrote or found.
	Head ledger.Revision
}

// LineError is a line that was not written, and why.
type LineError struct {
	Number int
	// Step is the line's, empty for a change log.
	Step string
	Err  error
}

func (e *LineError) Error() string {
	if e.Step != "" {
		return fmt.Sprintf("%s: %v", e.Step, e.Err)
	}
	return fmt.Sprintf("line %d: %v", e.Number, e.Err)
}

func (e *LineError) Unwrap() error { return e.Err }

// NoLinesError is a log without a line of the tenant that Config.Only names.
type NoLinesError struct{ Tenant, First ledger.Tenant }

func (e *NoLinesError) Error() string {
	return fmt.Sprintf("no line is of tenant %s: the first one is of %s", e.Tenant, e.First)
}

// maxLanes is how many tenants' streams are open at a time: gateways bound the
// streams of a connection.
const maxLanes = 32

type importer struct {
	Config

	// Owned by Run. other is the tenant of the first line that Only excludes.
	lanes map[ledger.Tenant]*lane
	other ledger.Tenant

	mu      sync.Mutex // guards what follows
	tallies map[ledger.Tenant]*Tally
	total   int
	failed  []error
}

// Run imports the log until its end, its first bad line, or until ctx is done; then it
// waits for lines in flight. The tallies, sorted by tenant, are the acknowledged lines,
// also with an error. The error is a LineError for an invalid line, the one with the
// lowest number, and ctx's after an interruption.
func Run(ctx context.Context, cfg Config, log Log) ([]Tally, error) {
	if cfg.GiveUp == 0 {
		cfg.GiveUp = time.Minute
	}
	if cfg.Drain == 0 {
		cfg.Drain = 10 * time.Second
	}
	im := &importer{Config: cfg, lanes: make(map[ledger.Tenant]*lane), tallies: make(map[ledger.Tenant]*Tally)}

	// reading ends on an interrupt and on a lane's failure; sending continues.
	reading, stop := context.WithCancel(ctx)
	defer stop()
	sending, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	context.AfterFunc(ctx, func() { time.AfterFunc(cfg.Drain, abort) })

	err := im.read(reading, sending, stop, log)
	im.finishAll()
	if ctx.Err() != nil {
		err = ctx.Err()
	} else {
		err = firstOf(append(im.failed, err))
	}
	tallies := im.result()
	if err == nil && len(tallies) == 0 && im.other != "" {
		err = &NoLinesError{im.Only, im.other}
	}
	return tallies, err
}

// read hands each line to its tenant's lane.
func (im *importer) read(reading, sending context.Context, stop context.CancelFunc, log Log) error {
	for reading.Err() == nil {
		line, err := log.Next()
		var bad *changelog.LineError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &bad):
			return &LineError{Number: bad.Number, Err: bad.Err}
		case err != nil:
			return err
		}
		if im.Only != "" && line.Tenant != im.Only {
			im.other = cmp.Or(im.other, line.Tenant)
			continue
		}
		if line.ID != "" && im.Present != nil {
			has, err := im.Present(reading, line)
			if err != nil {
				return &LineError{line.Number, line.Step, err}
			}
			if has {
				im.acknowledged(line, &stelev1.CommitResponse{Revision: uint64(line.Revision), RepeatedRequest: true})
				continue
			}
		}
		if line.Bases { // whose commits must be written first
			im.finishAll()
		}
		ln := im.lanes[line.Tenant]
		if ln == nil {
			im.makeRoom()
			ln = newLane(im, sending, reading, line.Tenant, stop)
			im.lanes[line.Tenant] = ln
		}
		ln.latest = line.Number
		ln.add(reading, line)
	}
	return nil
}

// finishAll waits until all lines are acknowledged.
func (im *importer) finishAll() {
	for _, ln := range im.lanes {
		ln.finish()
	}
	clear(im.lanes)
}

// makeRoom finishes the lane that has had nothing to do for longest. Its tenant
// may come again; the order holds because a lane ends when all is acknowledged.
func (im *importer) makeRoom() {
	if len(im.lanes) < maxLanes {
		return
	}
	var idle *lane
	for _, ln := range im.lanes {
		if idle == nil || ln.latest < idle.latest {
			idle = ln
		}
	}
	idle.finish()
	delete(im.lanes, idle.tenant)
}

func (im *importer) acknowledged(line *changelog.Line, r *stelev1.CommitResponse) {
	im.mu.Lock()
	defer im.mu.Unlock()
	t := im.tallies[line.Tenant]
	if t == nil {
		t = &Tally{Tenant: line.Tenant}
		im.tallies[line.Tenant] = t
	}
	if r.RepeatedRequest || r.Unchanged {
		t.Present++
	} else {
		t.Written++
		if line.Bases {
			t.Follows = line.Follows
		}
		if line.Origin != "" {
			if t.Origins == nil {
				t.Origins = make(map[string]int)
			}
			t.Origins[line.Origin]++
		}
		if !line.Claimed.IsZero() {
			t.Moved++
			if im.Moved != nil {
				im.Moved(line)
			}
		}
	}
	t.Head = max(t.Head, ledger.Revision(r.Revision))
	im.total++
	if im.Acknowledged != nil {
		im.Acknowledged(im.total, line.Offset)
	}
}

func (im *importer) fail(err error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.failed = append(im.failed, err)
}

// result is the tallies by tenant. All lanes have ended.
func (im *importer) result() []Tally {
	tallies := make([]Tally, 0, len(im.tallies))
	for _, t := range im.tallies {
		tallies = append(tallies, *t)
	}
	sort.Slice(tallies, func(i, j int) bool { return tallies[i].Tenant < tallies[j].Tenant })
	return tallies
}

// firstOf picks the error to report: the error of the lowest line, or otherwise one
// without a line.
func firstOf(errs []error) error {
	var first error
	lowest := math.MaxInt
	for _, err := range errs {
		var at *LineError
		switch {
		case errors.As(err, &at) && at.Number < lowest:
			first, lowest = err, at.Number
		case first == nil:
			first = err
		}
	}
	return first
}
