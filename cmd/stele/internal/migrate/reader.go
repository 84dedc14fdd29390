package migrate

import (
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/stelehq/stele/cmd/stele/internal/changelog"
	"github.com/stelehq/stele/internal/ledger"
)

// Config defines what to read and how.
type Config struct {
	Source  Source
	Mapping Mapping
	Ledger  Ledger
	// Only restricts the reading to one tenant; empty for all.
	Only ledger.Tenant
	// Prune deletes keys below the mapping's prefix in the ledger that a state
	// does not have.
	Prune bool
	// Secret reports whether the ledger encrypts a key's values.
	Secret func(ledger.Key) bool
	// Unfit is called for what the ledger would reject, which is left out.
	Unfit func(Unfit)
	// Kept is called for keys that a state does not have, and that stay because
	// Prune is not set.
	Kept func(ledger.Tenant, ledger.Key)
	// AsStrings are the beginnings of names whose values are taken as strings, byte by
	// byte.
	AsStrings []string
	// Noted is called for what is written in another way than the source has it.
	Noted func(Note)
}

// Note is something that is written in another way than the source has it.
type Note struct {
	Kind NoteKind
	// Step is the step's id.
	Step, Name string
	// The remark: a key, or a description of the value.
	What string
}

// NoteKind says what is written in another way.
type NoteKind string

// The kinds of notes.
const (
	NoteRenamed NoteKind = "renamed" // the name
	NoteBytes   NoteKind = "bytes"   // the value's bytes, or their meaning
	NoteReading NoteKind = "reading" // a file that other programs could read differently
)

// Unfit is an item that the ledger would reject.
type Unfit struct {
	// Step is the step's id; empty in a source without a history.
	Step, Name string
	Err        error
}

// Reader reads a source as lines. It is not safe for concurrent use.
type Reader struct {
	Config
	ctx     context.Context
	next    func() (Step, error, bool)
	stop    func()
	waiting []*changelog.Line
	number  int
	tenants map[ledger.Tenant]*tenant
	final   map[ledger.Tenant]*Final
	taken   int
}

// Final is what a source holds of one tenant at its end.
type Final struct {
	Values map[ledger.Key]ledger.Value
	// Unfit are the names whose newest value the ledger would reject, and why. A name
	// may belong to a document with many keys.
	Unfit map[string]error
}

// Taken is how many items the mapping has taken so far.
func (r *Reader) Taken() int { return r.taken }

// Final returns what the source holds at its end, once Next has returned io.EOF.
func (r *Reader) Final() map[ledger.Tenant]*Final { return r.final }

func (r *Reader) finalOf(t ledger.Tenant) *Final {
	f := r.final[t]
	if f == nil {
		f = &Final{Values: make(map[ledger.Key]ledger.Value), Unfit: make(map[string]error)}
		r.final[t] = f
	}
	return f
}

// set notes what a name is set to, or that it is deleted.
func (f *Final) set(name string, c ledger.Change) {
	delete(f.Unfit, name)
	if c.Delete {
		delete(f.Values, c.Key)
	} else {
		f.Values[c.Key] = c.Value
	}
}

// tenant is what a Reader knows of one.
type tenant struct {
	name ledger.Tenant
	// newest is the time of the line before, or of the head.
	newest time.Time
	head   ledger.Revision
	// passed is the number of the newest step that the ledger has, in a source
	// that counts them.
	passed uint64
}

// NewReader begins to read, for as long as ctx lasts. Close ends it.
func NewReader(ctx context.Context, cfg Config) *Reader {
	r := &Reader{Config: cfg, ctx: ctx, tenants: make(map[ledger.Tenant]*tenant), final: make(map[ledger.Tenant]*Final)}
	if r.Noted == nil {
		r.Noted = func(Note) {}
	}
	r.next, r.stop = iter.Pull2(cfg.Source.Steps(ctx))
	return r
}

// Close ends the reading.
func (r *Reader) Close() { r.stop() }

// Next returns the next line, or io.EOF after the last one.
func (r *Reader) Next() (*changelog.Line, error) {
	for len(r.waiting) == 0 {
		step, err, more := r.next()
		if !more {
			return nil, io.EOF
		}
		if err != nil {
			return nil, err
		}
		if err := r.read(step); err != nil {
			return nil, fmt.Errorf("%s: %w", step.ID, err)
		}
	}
	line := r.waiting[0]
	r.waiting = r.waiting[1:]
	return line, nil
}

// read makes lines of a step, a tenant after the other.
func (r *Reader) read(step Step) error {
	parts := r.place(step)
	if step.State && !r.Mapping.inName {
		// An empty state is also a state.
		if parts[r.Mapping.tenant] == nil {
			parts[r.Mapping.tenant] = []ledger.Change{}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		t, err := r.tenant(name, step.Number > 0)
		if err != nil {
			return err
		}
		if step.Number > 0 && step.Number <= t.passed {
			continue
		}
		changes := parts[name]
		if step.State {
			if changes, err = r.difference(t, changes); err != nil {
				return err
			}
		}
		r.lines(t, step, changes)
	}
	return nil
}

// place sorts a step's items by tenant, and leaves out what the ledger would not
// take.
func (r *Reader) place(step Step) map[ledger.Tenant][]ledger.Change {
	parts := make(map[ledger.Tenant][]ledger.Change)
	names := make(map[ledger.Tenant]map[ledger.Key]string)
	// Unfit names count last: another item of the same name does not make up for one.
	type unfit struct {
		tenant ledger.Tenant
		name   string
		err    error
	}
	var unfits []unfit
	if step.State {
		clear(r.final)
	}
	for _, item := range step.Items {
		t, key, ok, err := r.Mapping.Place(item.Name)
		if !ok || err == nil && r.Only != "" && t != r.Only {
			continue
		}
		if item.Remark != "" {
			r.Noted(Note{NoteReading, step.ID, item.Name, item.Remark})
			continue
		}
		r.taken++
		if t == "" {
			t = r.Mapping.tenant
		}
		if item.Repaired {
			delete(r.finalOf(t).Unfit, item.Name)
			continue
		}
		c := ledger.Change{Key: key, Delete: item.Delete}
		if err == nil {
			err = item.Fault
		}
		if err == nil && item.Secret && !r.Secret(key) {
			err = fmt.Errorf("%w: %s", errPlain, key)
		}
		if err == nil && !c.Delete {
			c.Value, err = r.value(step, item)
		}
		if other := names[t][key]; err == nil && other != "" {
			err = fmt.Errorf("it would become %s, as %s does", key, other)
		}
		if err != nil {
			r.Unfit(Unfit{step.place(), item.Name, err})
			unfits = append(unfits, unfit{t, item.Name, err})
			continue
		}
		if r.Mapping.Renamed(item.Name) {
			r.Noted(Note{NoteRenamed, step.ID, item.Name, string(key)})
		}
		r.finalOf(t).set(item.Name, c)
		if names[t] == nil {
			names[t] = make(map[ledger.Key]string)
		}
		names[t][key] = item.Name
		parts[t] = append(parts[t], c)
	}
	for _, u := range unfits {
		r.finalOf(u.tenant).Unfit[u.name] = u.err
	}
	return parts
}

// value is an item's value. A value that is stored differently than in the source is
// reported.
func (r *Reader) value(step Step, item Item) (ledger.Value, error) {
	if item.JSON {
		return ledger.ParseValue(item.Value)
	}
	if !utf8.ValidString(item.Value) || strings.ContainsRune(item.Value, 0) {
		return "", errBinary
	}
	if slices.ContainsFunc(r.AsStrings, func(p string) bool { return strings.HasPrefix(item.Name, p) }) {
		return ledger.StringValue(item.Value)
	}
	v, err := ledger.TextValue(item.Value)
	if err != nil {
		return "", err
	}
	asString, err := ledger.StringValue(item.Value)
	switch {
	case err == nil && v == asString:
	case v[0] == '"':
		r.Noted(Note{NoteBytes, step.ID, item.Name, "it loses its quotes and escapes"})
	case v == "null":
		r.Noted(Note{NoteBytes, step.ID, item.Name, "it becomes JSON's null"})
	case string(v) != item.Value:
		r.Noted(Note{NoteBytes, step.ID, item.Name, "it loses the white space of its layout"})
	}
	return v, nil
}

// tenant asks the ledger about a tenant when its name is first seen.
func (r *Reader) tenant(name ledger.Tenant, counted bool) (*tenant, error) {
	if t := r.tenants[name]; t != nil {
		return t, nil
	}
	t := &tenant{name: name, newest: time.Unix(0, 0).UTC()}
	head, at, err := r.Ledger.Head(r.ctx, name)
	if err != nil {
		return nil, err
	}
	if t.head = head; at.After(t.newest) {
		t.newest = at
	}
	if counted && head > 0 {
		mark := r.mark(name)
		message, err := r.Ledger.Message(r.ctx, name, mark)
		if err != nil {
			return nil, err
		}
		if message != "" {
			if t.passed, err = strconv.ParseUint(strings.TrimPrefix(message, mark), 10, 64); err != nil {
				return nil, fmt.Errorf("the message %q of a commit of %s names no revision", message, name)
			}
		}
	}
	r.tenants[name] = t
	return t, nil
}

// mark is how the message of a counted step's commit begins; the number is the
// rest of it.
func (r *Reader) mark(t ledger.Tenant) string {
	return r.route(t) + ": revision "
}

// route is the way of a tenant's names from the source into the ledger.
func (r *Reader) route(t ledger.Tenant) string {
	return fmt.Sprintf("%s, %q to %q", r.Source.Name(), r.Mapping.from(t), r.Mapping.into)
}
