package systemtest

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var updateDocuments = flag.Bool("update-documents", false, "write into the documents what their commands print")

// documents are those whose examples are run. Each group has a ledger of its own, in which its
// documents are followed one after the other.
var documents = [][]string{
	{"README.md", "docs/tour.md"}, {"docs/search.md"}, {"docs/bases.md"}, {"docs/promotion.md"}, {"docs/schemas.md"}, {"docs/rest.md"}, {"docs/flags.md"},
}

// TestDocuments types the console examples of the documents, from the first to the
// last, and compares their output with the text, except times, ids and the like.
func TestDocuments(t *testing.T) {
	for _, group := range documents {
		t.Run(strings.Join(group, " and "), func(t *testing.T) {
			t.Parallel()
			desk := newDesk(t)
			for _, name := range group {
				runDocument(t, name, desk)
			}
		})
	}
}

func runDocument(t *testing.T, name string, desk *desk) {
	t.Helper()
	path := filepath.Join("..", "..", "..", name)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d := document{t: t, name: name, desk: desk}
	got := d.run(string(text))
	if *updateDocuments && got != string(text) {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// document is one whose examples are being run.
type document struct {
	t    *testing.T
	name string
	desk *desk
}

const fence = "```"

// run returns the document with what its commands print now, where that differs by
// more than times and ids.
func (d *document) run(text string) string {
	var out strings.Builder
	lines := strings.SplitAfter(text, "\n")
	for i := 0; i < len(lines); i++ {
		out.WriteString(lines[i])
		if strings.TrimSpace(lines[i]) != fence+"console" {
			continue
		}
		for i++; strings.HasPrefix(lines[i], "$ "); {
			at := i + 1
			command := strings.TrimPrefix(lines[i], "$ ")
			for unfinished(command) {
				i++
				command += lines[i]
			}
			first := i + 1
			for i++; !strings.HasPrefix(lines[i], "$ ") && !strings.HasPrefix(lines[i], fence); {
				i++
			}
			want := strings.Join(lines[first:i], "")
			out.WriteString("$ " + command)
			got := d.desk.run(strings.TrimSuffix(command, "\n"), want)
			if plain(got) == plain(want) {
				got = want
			} else if !*updateDocuments {
				d.t.Errorf("%s:%d: %sprints\n%s\nand not\n%s", d.name, at, command, got, want)
			}
			out.WriteString(got)
		}
		out.WriteString(lines[i])
	}
	return out.String()
}

// unfinished reports whether a command continues in the next line: a quote is open.
func unfinished(command string) bool { return strings.Count(command, "'")%2 == 1 }

// desk is a user's terminal, with a running ledger.
type desk struct {
	t   *testing.T
	dir string
	env []string
	web string // where the console and REST are
}

func newDesk(t *testing.T) *desk {
	d := &desk{t: t, dir: t.TempDir()}
	config := filepath.Join(d.dir, "config.yaml")
	d.env = append(environment(config), "HOME="+d.dir, "no_proxy=*")
	g := startUp(t, filepath.Join(d.dir, "stele-data"), config)
	served := serves.FindSubmatch(g.printed(t))
	if served == nil {
		t.Fatalf("stele up does not say where it serves HTTP:\n%s", g.tail(t))
	}
	d.web = string(served[1])
	return d
}

var (
	serves = regexp.MustCompile(`REST +http://([^/\s]+)/`)
	shows  = regexp.MustCompile(`^cat ([a-z.-]+)$`)
	writes = regexp.MustCompile(`\b(set|delete|apply|rollback|revert|import|promote)\b`)
)

// run types a command and returns what it prints. A file that is shown and not there
// is written first, as its reader would. What writes nothing may be typed again for
// some seconds: what follows the ledger needs a moment.
func (d *desk) run(command, want string) string {
	d.t.Helper()
	if m := shows.FindStringSubmatch(command); m != nil {
		path := filepath.Join(d.dir, m[1])
		if _, err := os.Stat(path); os.IsNotExist(err) {
			if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
				d.t.Fatal(err)
			}
		}
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		got := d.try(command)
		if plain(got) == plain(want) || writes.MatchString(command) || time.Now().After(deadline) {
			return got
		}
	}
}

func (d *desk) try(command string) string {
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", strings.ReplaceAll(command, "localhost:7072", d.web))
	cmd.Dir, cmd.Env = d.dir, d.env
	out, _ := cmd.CombinedOutput() // a failure is also in the output
	if err := ctx.Err(); err != nil {
		d.t.Fatalf("%s: %v, having printed %s", command, err, out)
	}
	if len(out) > 0 && !bytes.HasSuffix(out, []byte("\n")) {
		out = append(out, '\n') // as a shell does before its prompt
	}
	return string(out)
}

// volatile is what differs from run to run, and what stands for it.
var volatile = []struct {
	is *regexp.Regexp
	as string
}{
	{regexp.MustCompile(`\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "TIME"},
	{regexp.MustCompile(`\b[0-9a-f]{16,64}\b`), "ID"},
	{regexp.MustCompile(`\b\d+(\.\d+)?(ms|µs|s)\b`), "WHILE"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "ADDRESS"},
	{regexp.MustCompile(`[\w.-]+/\d+\b`), "PROCESS"},
	{regexp.MustCompile(`(signed .* at) \d+ commits?`), "$1 COMMITS"}, // a checkpoint covers the commits at its time
	{regexp.MustCompile(`(the checkpoint( of ledger \w+)? at) \d+ commits?`), "$1 COMMITS"},
	{regexp.MustCompile(`(directory +@\d+ +0 +- +0 +-) +\d+`), "$1 WRITES"}, // how many depends on how fast the changes came
	{regexp.MustCompile(`\b\d+/s\b`), "RATE"},
	{regexp.MustCompile(`id: \S+\nevent: progress\ndata: .*\n\n`), ""}, // comes when it is time for one
	{regexp.MustCompile(`\s+`), ""},                                    // columns are as wide as what is in them, and JSON is shown on several lines
}

// plain is what must be the same in every run.
func plain(s string) string {
	for _, v := range volatile {
		s = v.is.ReplaceAllString(s, v.as)
	}
	return s
}
