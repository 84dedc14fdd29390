package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
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
	kindFactor   = "factor"   // P50 and P99 divided by another case's
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
	// Note follows the numbers of the cell.
	Note   string  `json:"note,omitempty"`
	Error  string  `json:"error,omitempty"`
	Round  int     `json:"round"`
	Limits *limits `json:"limits,omitempty"`
}

// named is a column of the tables: a peer, or what it is compared with.
type named interface{ Name() string }

// column is a column other than a peer's.
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
	// baselines are the columns, by title of their section, that the others are divided
	// by; without one, Stele is divided by each of the others.
	baselines map[string]column
	// tables replace the usual table, by title.
	tables map[string]func(io.Writer)
	round  int
	failed bool
}

func newReport(peers []string) *report {
	return &report{
		Started: time.Now(), Args: os.Args[1:], Peers: peers,
		Details: map[string][]string{}, baselines: map[string]column{}, tables: map[string]func(io.Writer){},
	}
}

func (r *report) add(sec section, res result) {
	if !slices.Contains(r.sections, sec) {
		r.sections = append(r.sections, sec)
	}
	res.Section, res.Round = sec.title, r.round
	r.failed = r.failed || res.Error != ""
	r.Results = append(r.Results, res)
}

// rate adds a rate and its latencies, or the error of their measurement.
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
	res.P50, res.P99, res.Limits = s.p50.Seconds(), s.p99.Seconds(), s.limits
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

// fail adds the error that kept a whole row from being measured with a peer.
func (r *report) fail(row string, p named, err error) {
	r.add(failures, result{Case: row, Peer: p.Name(), Error: err.Error()})
}

// cell is the results of one case and one column, by round.
type cell map[int]result

// table is a section's results.
type table struct {
	cases, columns []string
	cells          map[[2]string]cell // by case and column
	errs           []string
}

func (r *report) table(sec section) table {
	t := table{cells: map[[2]string]cell{}}
	for _, res := range r.Results {
		if res.Section != sec.title {
			continue
		}
		if !slices.Contains(t.cases, res.Case) {
			t.cases = append(t.cases, res.Case)
		}
		if !slices.Contains(t.columns, res.Peer) {
			t.columns = append(t.columns, res.Peer)
		}
		at := [2]string{res.Case, res.Peer}
		if t.cells[at] == nil {
			t.cells[at] = cell{}
		}
		t.cells[at][res.Round] = res
		if res.Error != "" {
			t.errs = append(t.errs, fmt.Sprintf("%s, %s: %s", res.Peer, res.Case, res.Error))
		}
	}
	return t
}

// pair is two columns, of which the first is divided by the second.
type pair [2]string

func (p pair) String() string { return p[0] + " / " + p[1] }

// pairs lists the ratios of a section.
func (r *report) pairs(sec section, columns []string) (pairs []pair) {
	if base, ok := r.baselines[sec.title]; ok {
		for _, c := range columns {
			if c != base.Name() {
				pairs = append(pairs, pair{c, base.Name()})
			}
		}
		return pairs
	}
	subject := slices.IndexFunc(columns, isStele)
	for i, c := range columns {
		if subject >= 0 && i != subject {
			pairs = append(pairs, pair{columns[subject], c})
		}
	}
	return pairs
}

// isStele reports whether the column is of Stele: of one server or several.
func isStele(column string) bool {
	return strings.TrimRight(column, "0123456789") == peer.Stele{}.Name()
}

// writeTable writes a section in Markdown: a row per case, a column for each peer
// that has a cell, then a column for each ratio; then a table of what limits the
// cells.
func (r *report) writeTable(w io.Writer, sec section) {
	t := r.table(sec)
	fmt.Fprintf(w, "\n## %s\n\n", sec.title)
	if sec.note != "" {
		fmt.Fprintf(w, "%s\n\n", sec.note)
	}
	if write, ok := r.tables[sec.title]; ok {
		write(w)
	} else {
		t.write(w, r.pairs(sec, t.columns))
	}
	for _, line := range slices.Concat(r.Details[sec.title], t.errs) {
		fmt.Fprintf(w, "\n%s\n", line)
	}
	t.writeLimits(w)
}

func (t table) write(w io.Writer, pairs []pair) {
	head := append([]string{""}, t.columns...)
	for _, p := range pairs {
		head = append(head, p.String())
	}
	writeRow(w, head)
	writeRow(w, slices.Repeat([]string{"---"}, len(head)))
	var spread float64
	for _, c := range t.cases {
		row := []string{c}
		for _, column := range t.columns {
			row = append(row, t.cells[[2]string{c, column}].median().text())
		}
		for _, p := range pairs {
			q := t.ratio(c, p)
			row = append(row, q.text())
			spread = max(spread, q.spread)
		}
		writeRow(w, row)
	}
	if spread > 0 {
		fmt.Fprintf(w, "\nThe ratio of a single round differs from its median by at most %.0f %%.\n", spread*100)
	}
}

// writeLimits writes what limits each cell, if that was measured.
func (t table) writeLimits(w io.Writer) {
	limited := func(c, column string) *limits { return t.cells[[2]string{c, column}].median().Limits }
	columns := slices.DeleteFunc(slices.Clone(t.columns), func(column string) bool {
		return !slices.ContainsFunc(t.cases, func(c string) bool { return limited(c, column) != nil })
	})
	cases := slices.DeleteFunc(slices.Clone(t.cases), func(c string) bool {
		return !slices.ContainsFunc(columns, func(column string) bool { return limited(c, column) != nil })
	})
	if len(columns) == 0 {
		return
	}
	fmt.Fprint(w, "\nWhat limits it:\n\n")
	writeRow(w, append([]string{""}, columns...))
	writeRow(w, slices.Repeat([]string{"---"}, len(columns)+1))
	for _, c := range cases {
		row := []string{c}
		for _, column := range columns {
			row = append(row, limited(c, column).text())
		}
		writeRow(w, row)
	}
}

// median is the result with the median of each number. Its note and limits are
// taken from the round whose value, or p50 for latencies, is the median.
func (c cell) median() result {
	var all []result
	for _, res := range c {
		if res.Error != "" {
			return res
		}
		all = append(all, res)
	}
	if len(all) == 0 {
		return result{}
	}
	slices.SortFunc(all, func(a, b result) int {
		return cmp.Or(cmp.Compare(a.Value, b.Value), cmp.Compare(a.P50, b.P50), cmp.Compare(a.Round, b.Round))
	})
	m := all[(len(all)-1)/2]
	of := func(number func(result) float64) float64 {
		numbers := make([]float64, len(all))
		for i, res := range all {
			numbers[i] = number(res)
		}
		return median(numbers)
	}
	m.Value = of(func(r result) float64 { return r.Value })
	m.P50 = of(func(r result) float64 { return r.P50 })
	m.P99 = of(func(r result) float64 { return r.P99 })
	return m
}

// median sorts the numbers, of which there is at least one.
func median(numbers []float64) float64 {
	slices.Sort(numbers)
	n := len(numbers)
	return (numbers[(n-1)/2] + numbers[n/2]) / 2
}

// ratio is the medians over the rounds of the quotients of two cells.
type ratio struct {
	kind            string
	value, p50, p99 float64
	// spread is how far the first number of a round is from the median, at most, as a
	// part of it.
	spread float64
}

// ratio compares two columns of a case, round by round. The zero ratio is that of
// cells that cannot be compared.
func (t table) ratio(c string, p pair) ratio {
	a, b := t.cells[[2]string{c, p[0]}], t.cells[[2]string{c, p[1]}]
	var q ratio
	var value, p50, p99 []float64
	for round, x := range a {
		y, ok := b[round]
		if x.Error+y.Error != "" {
			return ratio{}
		}
		if !ok || x.Kind != y.Kind || x.Kind == kindFactor {
			continue
		}
		q.kind = x.Kind
		value = append(value, x.Value/y.Value)
		p50 = append(p50, x.P50/y.P50)
		p99 = append(p99, x.P99/y.P99)
		if x.Kind == kindRate && x.P50 == 0 {
			q.kind = kindDuration // of one number
		}
	}
	if len(value) == 0 {
		return ratio{}
	}
	first := value
	if q.kind == kindLatency {
		first = p50
	}
	q.value, q.p50, q.p99 = median(value), median(p50), median(p99)
	m := median(first)
	for _, x := range first {
		q.spread = max(q.spread, math.Abs(x-m)/m)
	}
	return q
}

// text shows the numbers of a ratio as a cell shows those that it is of.
func (q ratio) text() string {
	switch q.kind {
	case "":
		return "-"
	case kindRate:
		return fmt.Sprintf("%.2f (%.2f, %.2f)", q.value, q.p50, q.p99)
	case kindLatency:
		return fmt.Sprintf("%.2f, %.2f", q.p50, q.p99)
	}
	return fmt.Sprintf("%.2f", q.value)
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
	case res.Kind == kindFactor:
		s = fmt.Sprintf("%.2f, %.2f", res.P50, res.P99)
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
