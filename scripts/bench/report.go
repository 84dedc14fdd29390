package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/stelehq/stele/scripts/bench/peer"
)

// section is one table.
type section struct{ title, note string }

// Kinds of result, which say what its numbers are.
const (
	kindRate     = "rate"     // Value a second; P50 and P99 in seconds
	kindLatency  = "latency"  // P50 and P99 in seconds
	kindDuration = "duration" // Value in seconds
	kindSize     = "size"     // Value in bytes
)

// result is one cell of a table.
type result struct {
	Section string  `json:"section"`
	Case    string  `json:"case"`
	Peer    string  `json:"peer"`
	Kind    string  `json:"kind"`
	Value   float64 `json:"value,omitempty"`
	P50     float64 `json:"p50,omitempty"`
	P99     float64 `json:"p99,omitempty"`
	// Note says what stands in for what the peer cannot do.
	Note  string `json:"note,omitempty"`
	Error string `json:"error,omitempty"`
}

// named is what the tables call a column: a peer, or what stands beside one.
type named interface{ Name() string }

// column is one that is no peer.
type column string

func (c column) Name() string { return string(c) }

// report collects the results and writes them as tables and as JSON.
type report struct {
	Machine  machine             `json:"machine"`
	Started  time.Time           `json:"started"`
	Args     []string            `json:"args"`
	Peers    []string            `json:"peers"`
	Results  []result            `json:"results"`
	Details  map[string][]string `json:"details"`
	sections []section
	failed   bool
}

func (r *report) add(sec section, res result) {
	if !slices.Contains(r.sections, sec) {
		r.sections = append(r.sections, sec)
	}
	res.Section = sec.title
	r.failed = r.failed || res.Error != ""
	r.Results = append(r.Results, res)
}

// rate adds a rate and its latencies, or why there is none.
func (r *report) rate(sec section, name string, p named, s sample, note string, err error) {
	r.measured(sec, result{Case: name, Peer: p.Name(), Kind: kindRate, Value: s.rate, Note: note}, s, err)
}

func (r *report) latency(sec section, name string, p named, s sample, err error) {
	r.measured(sec, result{Case: name, Peer: p.Name(), Kind: kindLatency}, s, err)
}

func (r *report) measured(sec section, res result, s sample, err error) {
	if errors.Is(err, errCannot) {
		return
	}
	if err != nil {
		res.Error = err.Error()
	}
	res.P50, res.P99 = s.p50.Seconds(), s.p99.Seconds()
	r.add(sec, res)
}

func (r *report) duration(sec section, name string, p named, d time.Duration) {
	r.add(sec, result{Case: name, Peer: p.Name(), Kind: kindDuration, Value: d.Seconds()})
}

func (r *report) size(sec section, name string, p named, bytes int64) {
	r.add(sec, result{Case: name, Peer: p.Name(), Kind: kindSize, Value: float64(bytes)})
}

// detail adds a line below a section's table.
func (r *report) detail(sec section, p named, text string) {
	r.Details[sec.title] = append(r.Details[sec.title], p.Name()+" "+text)
}

// fail adds what kept a whole theme from being measured with a peer.
func (r *report) fail(t theme, p named, err error) {
	r.add(failures, result{Case: t.name, Peer: p.Name(), Error: err.Error()})
}

// writeTable writes a section in Markdown: a row a case, a column for each peer that
// has a cell, then a column of ratios for each that Stele is compared with.
func (r *report) writeTable(w io.Writer, sec section) {
	cells := map[[2]string]result{}
	var cases, columns, errs []string
	for _, res := range r.Results {
		if res.Section != sec.title {
			continue
		}
		if !slices.Contains(cases, res.Case) {
			cases = append(cases, res.Case)
		}
		if !slices.Contains(columns, res.Peer) {
			columns = append(columns, res.Peer)
		}
		cells[[2]string{res.Case, res.Peer}] = res
		if res.Error != "" {
			errs = append(errs, fmt.Sprintf("%s, %s: %s", res.Peer, res.Case, res.Error))
		}
	}
	subject := peer.Stele{}.Name()
	var others []string
	if slices.Contains(columns, subject) {
		others = slices.DeleteFunc(slices.Clone(columns), func(p string) bool { return p == subject })
	}
	fmt.Fprintf(w, "\n## %s\n\n", sec.title)
	if sec.note != "" {
		fmt.Fprintf(w, "%s\n\n", sec.note)
	}
	head := append([]string{""}, columns...)
	for _, p := range others {
		head = append(head, subject+" / "+p)
	}
	writeRow(w, head)
	writeRow(w, slices.Repeat([]string{"---"}, len(head)))
	for _, c := range cases {
		row := []string{c}
		for _, p := range columns {
			row = append(row, cells[[2]string{c, p}].text())
		}
		for _, p := range others {
			row = append(row, ratio(cells[[2]string{c, subject}], cells[[2]string{c, p}]))
		}
		writeRow(w, row)
	}
	for _, line := range slices.Concat(r.Details[sec.title], errs) {
		fmt.Fprintf(w, "\n%s\n", line)
	}
}

func writeRow(w io.Writer, cells []string) {
	fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
}

// text is a result as a cell.
func (res result) text() string {
	var s string
	switch {
	case res.Error != "":
		return "failed"
	case res.Kind == kindRate && res.P50 == 0:
		s = countText(res.Value) + "/s"
	case res.Kind == kindRate:
		s = fmt.Sprintf("%s/s (%s, %s)", countText(res.Value), secondsText(res.P50), secondsText(res.P99))
	case res.Kind == kindLatency:
		s = fmt.Sprintf("%s, %s", secondsText(res.P50), secondsText(res.P99))
	case res.Kind == kindDuration:
		s = secondsText(res.Value)
	case res.Kind == kindSize:
		s = bytesText(res.Value)
	default:
		return "-"
	}
	if res.Note != "" {
		s += " " + res.Note
	}
	return s
}

// ratio is a by b, number by number as text shows them.
func ratio(a, b result) string {
	if a.Kind == "" || a.Kind != b.Kind || a.Error+b.Error != "" {
		return "-"
	}
	switch a.Kind {
	case kindRate:
		if a.P50 == 0 {
			break
		}
		return fmt.Sprintf("%.2f (%.2f, %.2f)", a.Value/b.Value, a.P50/b.P50, a.P99/b.P99)
	case kindLatency:
		return fmt.Sprintf("%.2f, %.2f", a.P50/b.P50, a.P99/b.P99)
	}
	return fmt.Sprintf("%.2f", a.Value/b.Value)
}

func countText(n float64) string {
	switch {
	case n >= 1e6:
		return fmt.Sprintf("%.2fM", n/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1fk", n/1e3)
	}
	return fmt.Sprintf("%.0f", n)
}

func secondsText(s float64) string {
	switch {
	case s >= 1:
		return fmt.Sprintf("%.2f s", s)
	case s >= 0.01:
		return fmt.Sprintf("%.0f ms", s*1e3)
	case s >= 0.001:
		return fmt.Sprintf("%.1f ms", s*1e3)
	case s < 1e-5:
		return fmt.Sprintf("%.2f µs", s*1e6)
	}
	return fmt.Sprintf("%.0f µs", s*1e6)
}

func bytesText(n float64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2f GB", n/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.0f MB", n/1e6)
	}
	return fmt.Sprintf("%.0f kB", n/1e3)
}

func (r *report) writeJSON(path string) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}
