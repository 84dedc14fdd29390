package scrub

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/stelehq/stele/internal/durable"
)

// maxFindings is how many findings about a copy are kept; all are counted.
const maxFindings = 100

// Status is the result of the last pass over one copy.
type Status struct {
	// Server that has the copy; empty if it is the embedded one.
	Server string `json:"server"`
	// Begun and Completed are of the last pass that read all of it; zero before that.
	Begun     time.Time `json:"begun,omitzero"`
	Completed time.Time `json:"completed,omitzero"`
	// Messages that were read in it, and Damaged how many cannot be read, or are not
	// what was written.
	Messages uint64 `json:"messages"`
	Damaged  uint64 `json:"damaged"`
	// Findings describe the damage, of all streams; the first of them, if there are many.
	Findings []string `json:"findings,omitempty"`
	// Failed is why it could not be read since; empty if it could.
	Failed string `json:"failed,omitempty"`

	earlier bool // an earlier process has found it
}

// due reports whether the copy is to be read again. Damage that an earlier process has found
// may be repaired.
func (st *Status) due(now time.Time, interval time.Duration) bool {
	since := now.Sub(st.Begun) // negative if the clock was ahead
	return st.Failed != "" || since < 0 || since >= interval || st.earlier && st.Damaged > 0
}

// Results are the results of the last pass over each copy. They are kept in a file, so that
// damage is also reported after a restart, until a pass does not find it.
type Results struct {
	path string
	log  *slog.Logger

	mu     sync.Mutex // guards copies
	copies []Status
}

// OpenResults reads the file, if it exists. One that cannot be decoded counts as none: the
// next pass writes it again.
func OpenResults(path string, log *slog.Logger) (*Results, error) {
	r := &Results{path: path, log: log}
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return r, nil
	case err != nil:
		return nil, fmt.Errorf("read the results of comparing the journal with the tree: %w", err)
	}
	if err := json.Unmarshal(text, &r.copies); err != nil {
		log.Warn("the results of comparing the journal with the tree cannot be decoded; comparing again", "file", path, "error", err)
		r.copies = nil
	}
	for i := range r.copies {
		r.copies[i].earlier = true
	}
	return r, nil
}

// Status is the result for each copy.
func (r *Results) Status() []Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.copies)
}

// keep drops the results of servers that hold no copy anymore.
func (r *Results) keep(servers []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.copies
	r.copies = nil
	for _, server := range servers {
		st := Status{Server: server}
		if i := slices.IndexFunc(old, func(o Status) bool { return o.Server == server }); i >= 0 {
			st = old[i]
		}
		r.copies = append(r.copies, st)
	}
}

// of is the result for a copy that is kept. The mutex is held.
func (r *Results) of(server string) *Status {
	return &r.copies[slices.IndexFunc(r.copies, func(c Status) bool { return c.Server == server })]
}

func (r *Results) due(server string, now time.Time, interval time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of(server).due(now, interval)
}

// note keeps the result for a copy, and logs what is new in it. The findings of a
// pass that failed are added to those before it: it has not read everything.
func (r *Results) note(server string, begun time.Time, p *pass, err error) {
	r.set(server, begun, p, err)
	r.save()
}

// set replaces the result for a copy.
func (r *Results) set(server string, begun time.Time, p *pass, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	st, failed := r.of(server), ""
	if err != nil {
		failed = err.Error()
	}
	if failed != "" && failed != st.Failed {
		r.log.Warn("cannot compare the journal with the tree; trying again", "server", server, "error", err)
	}
	st.Failed, st.earlier = failed, false
	findings := st.Findings
	for _, f := range p.findings {
		if !slices.Contains(st.Findings, f) {
			r.log.Error("the journal is damaged: see Damaged journal in docs/operations.md", "server", server, "found", f)
			findings = append(slices.Clip(findings), f)
		}
	}
	if err == nil && len(st.Findings) > 0 && len(p.findings) == 0 {
		r.log.Info("the journal is not damaged anymore", "server", server)
	}
	if err == nil {
		st.Begun, st.Completed, st.Messages, st.Damaged, st.Findings = begun, time.Now(), p.messages, p.lost, p.findings
	} else {
		st.Damaged, st.Findings = max(st.Damaged, p.lost), findings[:min(len(findings), maxFindings)]
	}
}

// save replaces the file. Only the Scrubber's goroutine calls it. It does not hold the mutex
// while it waits for the disk.
func (r *Results) save() {
	text, err := json.MarshalIndent(r.Status(), "", "  ")
	if err == nil {
		err = durable.Replace(r.path, append(text, '\n'))
	}
	if err != nil {
		r.log.Warn("the results of comparing the journal with the tree are not kept for the next start", "error", err)
	}
}
