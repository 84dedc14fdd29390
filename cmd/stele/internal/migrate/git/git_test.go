package git

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/cmd/stele/internal/migrate/document"
)

// repository is a new one, in a world without other settings.
type repository struct {
	t   *testing.T
	dir string
	now int
}

func newRepository(t *testing.T) *repository {
	t.Helper()
	t.Setenv("GIT_CONFIG_GLOBAL", "/dev/null")
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	r := &repository{t: t, dir: t.TempDir(), now: 1_700_000_000}
	r.git("init", "-q", "-b", "main")
	return r
}

func (r *repository) git(args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	when := fmt.Sprintf("%d +0100", r.now)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@example.com", "GIT_COMMITTER_NAME=Bob", "GIT_COMMITTER_EMAIL=bob@example.com",
		"GIT_AUTHOR_DATE="+when, "GIT_COMMITTER_DATE="+when)
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (r *repository) write(name, text string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r *repository) commit(message string) {
	r.t.Helper()
	r.now++
	r.git("add", "-A")
	r.git("commit", "-q", "--allow-empty", "-m", message)
}

// steps describes each step in a line: first line of the message, then what it changes.
func (r *repository) steps(cfg Config) []string {
	r.t.Helper()
	cfg.Dir = r.dir
	if cfg.Ref == "" {
		cfg.Ref = "HEAD"
	}
	s, err := Open(r.t.Context(), cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	var listed []string
	for step, err := range s.Steps(r.t.Context()) {
		if err != nil {
			r.t.Fatal(err)
		}
		message, _, _ := strings.Cut(step.Message, "\n")
		line := message + ":"
		for _, i := range step.Items {
			switch {
			case i.Fault != nil:
				line += fmt.Sprintf(" ?%s(%v)", i.Name, i.Fault)
			case i.Repaired:
				line += " ~" + i.Name
			case i.Delete:
				line += " -" + i.Name
			default:
				line += fmt.Sprintf(" %s=%s", i.Name, i.Value)
			}
		}
		listed = append(listed, line)
	}
	return listed
}

func TestSteps_CommitsThatChangeADocument(t *testing.T) {
	r := newRepository(t)
	r.write("config/checkout.yaml", "timeout: 3\nhosts: [a, b]\n")
	r.write("config/readme.txt", "no document")
	r.write("other/x.json", "1")
	r.commit("first")
	r.write("config/readme.txt", "still none")
	r.commit("nothing of ours")
	r.write("config/checkout.yaml", "timeout: 1.0 # as it was written\nhosts: [a, b]\n")
	r.write("config/über uns.json", `{"a":"ü"}`)
	r.commit("second")
	r.write("config/checkout.yaml", "timeout: [\n")
	r.commit("broken")
	r.write("config/checkout.yaml", "timeout: 1.0\nhosts: [a, b]\n")
	r.commit("repaired and unchanged")
	r.git("mv", "config/checkout.yaml", "config/payment.yaml")
	r.commit("renamed")
	r.git("rm", "-q", "config/payment.yaml")
	r.commit("deleted")

	broken := "?config/checkout(config/checkout.yaml: yaml: line 1: did not find expected node content)"
	want := []string{
		`first: config/checkout={"timeout":3,"hosts":["a","b"]}`,
		`second: config/checkout={"timeout":1.0,"hosts":["a","b"]} config/über uns={"a":"ü"}`,
		`broken: ` + broken,
		`repaired and unchanged: ~config/checkout`,
		`renamed: -config/checkout config/payment={"timeout":1.0,"hosts":["a","b"]}`,
		`deleted: -config/payment`,
	}
	got := r.steps(Config{Root: "config/"})
	if len(got) > 2 && strings.HasPrefix(got[2], "broken: ?config/checkout(config/checkout.yaml: yaml: line ") {
		got[2] = want[2] // how YAML says it is the library's affair
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	want = []string{
		`first: config/checkout/hosts=["a","b"] config/checkout/timeout=3`,
		`second: config/checkout/timeout=1.0 config/über uns/a="ü"`,
		`broken: ` + broken,
		`repaired and unchanged: ~config/checkout`,
		`renamed: -config/checkout/hosts -config/checkout/timeout config/payment/hosts=["a","b"] config/payment/timeout=1.0`,
		`deleted: -config/payment/hosts -config/payment/timeout`,
	}
	if got = r.steps(Config{Root: "config/", Flatten: true}); len(got) > 2 {
		got[2] = want[2]
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("flattened (-want +got):\n%s", d)
	}
	if got := r.steps(Config{}); len(got) != 6 || !strings.Contains(got[0], "other/x=1") {
		t.Errorf("without a root: %q", got)
	}
	if got := r.steps(Config{Root: "config/", Ref: "HEAD~4"}); len(got) != 2 {
		t.Errorf("up to the second: %q", got)
	}
}

func TestSteps_TimeAuthorAndMessage(t *testing.T) {
	r := newRepository(t)
	r.write("a.yaml", "1")
	r.commit("subject\n\nbody\nof two lines")
	s, err := Open(t.Context(), Config{Dir: r.dir, Ref: "main"})
	if err != nil {
		t.Fatal(err)
	}
	id := strings.TrimSpace(r.git("rev-parse", "HEAD"))
	for step, err := range s.Steps(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if step.Time.Unix() != int64(r.now) || step.Author != "Ann <ann@example.com>" || step.ID != "commit "+id ||
			step.Message != "subject\n\nbody\nof two lines\n\ngit: "+id {
			t.Errorf("the step is %+v", step)
		}
	}
}

// Symbolic links and Helm templates of the last commit are skipped and counted, as an import of
// files does.
func TestSkipped(t *testing.T) {
	r := newRepository(t)
	r.write("a.yaml", "1")
	r.write("b/notes", "text")
	if err := os.Symlink("a.yaml", filepath.Join(r.dir, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	r.write("templates/kept.yaml", "a: 1")
	r.write("templates/removed.yaml", "a: {{ .Values.a }}")
	r.write("templates/rendered.yaml", "a: {{ .Values.a }}")
	r.write("templates/x.yaml", "x: 1")
	r.commit("first")
	r.git("rm", "-q", "templates/removed.yaml")
	r.write("templates/rendered.yaml", "a: 2")
	r.write("templates/x.yaml", "x: {{ .Values.x }}")
	r.commit("second")
	s, err := Open(t.Context(), Config{Dir: r.dir, Ref: "HEAD"})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range s.Steps(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := document.Skipped{
		Formats:   map[string]*document.Class{"": {Count: 1, Examples: []string{"b/notes"}}},
		Links:     document.Class{Count: 1, Examples: []string{"link.yaml"}},
		Templates: document.Class{Count: 1, Examples: []string{"templates/x.yaml"}},
	}
	if d := cmp.Diff(want, s.Skipped()); d != "" {
		t.Errorf("skipped (-want +got):\n%s", d)
	}
	steps := []string{`first: a=1 templates/kept={"a":1} templates/x={"x":1}`, `second: templates/rendered={"a":2} -templates/x`}
	if d := cmp.Diff(steps, r.steps(Config{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestSteps_MergeIsOneStep(t *testing.T) {
	r := newRepository(t)
	r.write("a.yaml", "1")
	r.commit("base")
	r.git("checkout", "-q", "-b", "side")
	r.write("b.yaml", "1")
	r.commit("side one")
	r.write("b.yaml", "2")
	r.commit("side two")
	r.git("checkout", "-q", "main")
	r.write("a.yaml", "2")
	r.commit("main one")
	r.now++
	r.git("merge", "-q", "--no-ff", "-m", "merge", "side")
	if d := cmp.Diff([]string{"base: a=1", "main one: a=2", "merge: b=2"}, r.steps(Config{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestSteps_TwoFilesOfOneName(t *testing.T) {
	r := newRepository(t)
	r.write("a.yaml", "1")
	r.commit("one")
	r.write("a.json", "2")
	r.commit("two of a name")
	r.git("rm", "-q", "a.yaml")
	r.write("a.json", "3")
	r.commit("one again")
	if err := os.Symlink("/etc/passwd", filepath.Join(r.dir, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	r.commit("a link")
	r.git("rm", "-q", "a.json")
	if err := os.Symlink("link.yaml", filepath.Join(r.dir, "a.json")); err != nil {
		t.Fatal(err)
	}
	r.commit("a link instead")
	r.write("large.json", `"`+strings.Repeat("x", document.MaxSize)+`"`)
	r.commit("large")
	want := []string{
		"one: a=1", "two of a name: ?a(both a.yaml and a.json define it)", "one again: a=3", "a link instead: -a",
		fmt.Sprintf("large: ?large(large.json: the file has more than %d bytes)", document.MaxSize),
	}
	if d := cmp.Diff(want, r.steps(Config{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// A repository's own configuration may name programs for git to run. None of them
// runs.
func TestOpen_RepositoryCannotRunPrograms(t *testing.T) {
	r := newRepository(t)
	r.write("a.yaml", "1")
	r.write(".gitattributes", "*.yaml diff=evil filter=evil\n")
	r.commit("one")
	ran := filepath.Join(t.TempDir(), "ran")
	program := filepath.Join(t.TempDir(), "evil")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho \"$0 $*\" >>"+ran+"\ncat\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, setting := range []string{
		"core.fsmonitor", "core.pager", "core.sshCommand", "core.editor", "gpg.program", "gpg.ssh.program", "diff.external", "diff.evil.textconv",
		"diff.evil.command", "filter.evil.smudge", "filter.evil.clean", "core.alternateRefsCommand", "credential.helper", "pager.log",
	} {
		r.git("config", setting, program)
	}
	for _, setting := range []string{"log.showSignature", "log.follow", "log.mailmap"} {
		r.git("config", setting, "true")
	}
	r.git("config", "alias.log", "!"+program)
	hooks := filepath.Join(r.dir, ".git", "hooks")
	for _, hook := range []string{"post-checkout", "post-index-change", "reference-transaction"} {
		if err := os.WriteFile(filepath.Join(hooks, hook), []byte("#!/bin/sh\necho hook >>"+ran+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff([]string{"one: a=1"}, r.steps(Config{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if text, err := os.ReadFile(ran); err == nil {
		t.Errorf("it ran:\n%s", text)
	}
}

// A document can name itself, or be multiplied by its aliases; names can be those
// of other files.
func TestSteps_HostileDocument(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'i'; c++ {
		bomb += fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	for name, text := range map[string]string{"cycle": "a: &a {b: *a}\n", "bomb": bomb, "twice": "a: 1\na: 2\n", "two": "a/b: 1\na: {b: 2}\n"} {
		r := newRepository(t)
		r.write("x.yaml", text)
		r.commit(name)
		got := r.steps(Config{Flatten: true})
		if len(got) != 1 || !strings.HasPrefix(got[0], name+": ?x(x.yaml: ") {
			t.Errorf("%s: %.200q", name, got)
		}
	}
}

// A file that has comments only, or nothing, sets nothing.
func TestSteps_EmptyDocument(t *testing.T) {
	for name, text := range map[string]string{"empty": "", "comments": "# nothing yet\n"} {
		r := newRepository(t)
		r.write("x.yaml", text)
		r.commit(name)
		if got := r.steps(Config{Flatten: true}); len(got) != 0 {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestOpen_RefIsNotAnOption(t *testing.T) {
	r := newRepository(t)
	r.write("a.yaml", "1")
	r.commit("one")
	for _, ref := range []string{"--all", "-h", "nowhere", ""} {
		if _, err := Open(t.Context(), Config{Dir: r.dir, Ref: ref}); err == nil {
			t.Errorf("the ref %q is taken", ref)
		}
	}
	if _, err := Open(t.Context(), Config{Dir: t.TempDir(), Ref: "HEAD"}); err == nil {
		t.Error("a folder that is no repository is taken")
	}
}

func TestSteps_EndWithTheContext(t *testing.T) {
	r := newRepository(t)
	r.write("a.yaml", "1")
	r.commit("one")
	s, err := Open(t.Context(), Config{Dir: r.dir, Ref: "HEAD"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range s.Steps(ctx) {
		if err == nil {
			t.Error("there is a step")
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("0123\nabcd ef01\n1700000000\nAnn <ann@example.com>\nsubject\n\nbody\n")
	f.Add("\n\n\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parse(text)
		if err == nil && (strings.ContainsAny(c.parent, " \n") || strings.Contains(c.author, "\n") || c.time.Location() != time.UTC) {
			t.Errorf("%q is %+v", text, c)
		}
	})
}
