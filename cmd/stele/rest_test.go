package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTheExamplesOfREST runs the commands of docs/rest.md with bash and curl against
// "stele up", and compares what they print, but for white space, times and ids.
func TestTheExamplesOfREST(t *testing.T) {
	for _, program := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("needs bash and curl")
		}
	}
	page, err := os.ReadFile("../../docs/rest.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	g := startUp(t, filepath.Join(dir, "stele-data"), filepath.Join(dir, "config.yaml"))
	address := regexp.MustCompile(`REST +http://([^/\s]+)/`).FindSubmatch(g.printed(t))
	if address == nil {
		t.Fatalf("stele up does not say where it serves HTTP:\n%s", g.tail(t))
	}
	examples := consoleExamples(string(page))
	if len(examples) < 10 {
		t.Fatalf("%d examples were found", len(examples))
	}
	var script strings.Builder
	for _, e := range examples {
		fmt.Fprintf(&script, "%s\necho '@@@'\n", strings.ReplaceAll(e.command, "localhost:7072", string(address[1])))
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script.String())
	cmd.Dir = dir
	cmd.Env = append(environment(filepath.Join(dir, "config.yaml")), "HOME="+dir, "no_proxy=*", "USER=local")
	printed, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, printed)
	}
	outputs := strings.Split(string(printed), "@@@\n")
	for i, e := range examples {
		if want, got := normal(e.output), normal(outputs[i]); want != got {
			t.Errorf("$ %s\nprinted:\n%s\nnot, as docs/rest.md has it:\n%s", e.command, outputs[i], e.output)
		}
	}
	t.Logf("%d examples", len(examples))
}

// example is a command of a page and what it prints.
type example struct{ command, output string }

// consoleExamples are those in a page's console blocks. A command goes on over lines
// for as long as a quote is open.
func consoleExamples(page string) (all []example) {
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(page, -1) {
		var open bool
		for _, line := range strings.SplitAfter(block[1], "\n") {
			command, begins := strings.CutPrefix(line, "$ ")
			switch {
			case begins && !open:
				all = append(all, example{command: command})
			case open:
				all[len(all)-1].command += line
				command = line
			case len(all) > 0:
				all[len(all)-1].output += line
			}
			if begins || open {
				open = open != (strings.Count(command, "'")%2 == 1)
			}
		}
	}
	return all
}

var variable = []struct {
	pattern *regexp.Regexp
	as      string
}{
	{regexp.MustCompile(`id: \d+\nevent: progress\ndata: .*\n\n`), ""}, // whenever it is time for one
	{regexp.MustCompile(`[0-9a-f]{64}`), "ID"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "TIME"},
	{regexp.MustCompile(`"age":"[0-9.]+s"`), "AGE"},
	{regexp.MustCompile(`\s+`), ""},
}

// normal is an output without what is another one every time.
func normal(output string) string {
	for _, v := range variable {
		output = v.pattern.ReplaceAllString(output, v.as)
	}
	return output
}
