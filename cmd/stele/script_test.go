package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stelehq/stele/internal/porttest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"stele": main})
}

// TestCommandLine runs the scripts, each against a server of its own that it starts
// and ends.
func TestCommandLine(t *testing.T) {
	testscript.RunT(brief{t}, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("STELE_CONFIG", env.WorkDir+"/config.yaml")
			env.Setenv("STELE_TENANT", "acme")
			env.Setenv("ADDRESS", porttest.Free(t, 1)[0]) // for a server that is started again
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"await": await, "until": until},
		// A command that never ends is killed, and every goroutine printed, long before the
		// tests time out: the slowest script takes a minute on two busy processors.
		Deadline: time.Now().Add(15 * time.Minute),
	})
}

// brief is a test that prints only the section of a script that fails, also with -v: with all
// sections, the failure is hundreds of lines below the name of the test.
type brief struct{ *testing.T }

func (b brief) Verbose() bool { return false }

func (b brief) Run(name string, script func(testscript.T)) {
	b.T.Run(name, func(t *testing.T) { script(brief{t}) })
}

// await waits until a file exists and contains a text: await FILE [TEXT].
func await(ts *testscript.TestScript, _ bool, args []string) {
	text := strings.Join(args[1:], " ")
	if !soon(func() bool {
		data, err := os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && strings.Contains(string(data), text)
	}) {
		ts.Fatalf("%s does not hold %q", args[0], text)
	}
}

// until runs a command until it succeeds and its output matches a regular expression:
// until PATTERN COMMAND [ARGUMENT]...
func until(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile("(?m)" + args[0])
	if !soon(func() bool {
		return ts.Exec(args[1], args[2:]...) == nil && pattern.MatchString(ts.ReadFile("stdout"))
	}) {
		ts.Fatalf("%s does not print %q", strings.Join(args[1:], " "), args[0])
	}
}

// soon tries for a minute, and reports whether it is done.
func soon(done func() bool) bool {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if done() {
			return true
		}
	}
	return false
}
