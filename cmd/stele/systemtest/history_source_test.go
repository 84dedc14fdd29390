//go:build history

package systemtest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
)

// sourceLine is a line of the change log, read without any code of the import.
type sourceLine struct {
	Time    time.Time     `json:"time"`
	Author  string        `json:"author"`
	Message string        `json:"message"`
	Tenant  ledger.Tenant `json:"tenant"`
	Changes []struct {
		Key    string          `json:"key"`
		Value  json.RawMessage `json:"value"`
		Delete bool            `json:"delete"`
	} `json:"changes"`
}

// source is a change log and what replays it independently.
type source struct {
	file, oracle string
	lines        map[ledger.Tenant][]sourceLine
}

func openSource(t *testing.T, dir string) *source {
	t.Helper()
	s := &source{
		file:   filepath.Join(dir, "data", "govuk-settings.jsonl.gz"),
		oracle: filepath.Join(dir, "tools", "oracle.py"),
		lines:  make(map[ledger.Tenant][]sourceLine),
	}
	for _, file := range []string{s.file, s.oracle} {
		if _, err := os.Stat(file); err != nil {
			t.Fatalf("%v: set STELE_HISTORY to a folder that has data/govuk-settings.jsonl.gz and tools/oracle.py", err)
		}
	}
	f, err := os.Open(s.file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unpacked, err := gzip.NewReader(bufio.NewReader(f))
	if err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(unpacked); d.More(); {
		var l sourceLine
		if err := d.Decode(&l); err != nil {
			t.Fatal(err)
		}
		s.lines[l.Tenant] = append(s.lines[l.Tenant], l)
	}
	return s
}

func (s *source) tenants() []ledger.Tenant { return slices.Sorted(maps.Keys(s.lines)) }

// program is the command line, with the configuration that "stele up" wrote.
type program struct{ config string }

func (p program) run(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("stele", args...)
	cmd.Env = environment(p.config)
	return output(t, cmd)
}

func output(t *testing.T, cmd *exec.Cmd) []byte {
	t.Helper()
	var failure bytes.Buffer
	cmd.Stderr = &failure
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: %v\n%s", cmd.Args, err, failure.Bytes())
	}
	return out
}

// objects reads one JSON object per line, with numbers as they are written.
func objects[T any](t *testing.T, text []byte) []T {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var all []T
	for d.More() {
		var o T
		if err := d.Decode(&o); err != nil {
			t.Fatal(err)
		}
		all = append(all, o)
	}
	return all
}

// exported is a line of an export, and of what the oracle prints.
type exported struct {
	Key      string `json:"key"`
	Value    any    `json:"value"`
	Revision uint64 `json:"revision"`
}

// exact makes values comparable by meaning: 1.0 is 1, and no number is rounded.
func exact(v any) any {
	switch v := v.(type) {
	case json.Number:
		r, ok := new(big.Rat).SetString(v.String())
		if !ok {
			return v
		}
		return r.RatString()
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = exact(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			out[k] = exact(v[k])
		}
		return out
	case string:
		return "string " + v // no string is a number
	}
	return v
}
