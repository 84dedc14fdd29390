package changelog

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stelehq/stele/internal/ledger"
)

const one = `{"time":"2022-10-10T10:40:23Z","author":"ann","message":"m","source":"f46f","tenant":"test","changes":[{"key":"a/b","value":{"n": 1.0}},{"key":"a/c","delete":true}]}`

func readAll(t *testing.T, data []byte) ([]*Line, error) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(data), "")
	if err != nil {
		t.Fatal(err)
	}
	var lines []*Line
	for {
		l, err := r.Next()
		if err == io.EOF {
			return lines, nil
		}
		if err != nil {
			return lines, err
		}
		lines = append(lines, l)
	}
}

func TestNext_PlainAndCompressed(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	io.WriteString(w, one+"\n\n")
	w.Close()
	want := ledger.ChangeSet{
		Author: "ann", Message: "m",
		Import:  &ledger.Import{Time: time.Date(2022, 10, 10, 10, 40, 23, 0, time.UTC)},
		Changes: []ledger.Change{{Key: "a/b", Value: `{"n":1.0}`}, {Key: "a/c", Delete: true}},
	}
	for name, data := range map[string][]byte{"plain": []byte(one + "\n"), "no end of line": []byte(one), "gzip": packed.Bytes()} {
		lines, err := readAll(t, data)
		if err != nil || len(lines) != 1 {
			t.Fatalf("%s: %d lines, %v", name, len(lines), err)
		}
		l := lines[0]
		want.RequestID = l.ChangeSet.RequestID
		if d := cmp.Diff(want, l.ChangeSet, cmpopts.IgnoreUnexported(ledger.ChangeSet{})); d != "" || l.Tenant != "test" || l.Number != 1 || l.Offset != int64(len(data)) {
			t.Errorf("%s: %+v (-want +got):\n%s", name, l, d)
		}
	}
}

func TestNext_IdenticalLinesHaveStableRequestIDs(t *testing.T) {
	spaced := strings.ReplaceAll(one, `":`, `": `)
	other := strings.Replace(one, `"m"`, `"n"`, 1)
	log := strings.Join([]string{one, other, one, spaced}, "\n")
	lines, err := readAll(t, []byte(log))
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]string, len(lines))
	for i, l := range lines {
		ids[i] = l.ChangeSet.RequestID
	}
	if ids[0] == ids[1] || ids[2] != ids[0]+"#2" || ids[3] != ids[0]+"#3" || len(ids[0]) != len("import:")+22 {
		t.Errorf("request ids are %q", ids)
	}
	again, err := readAll(t, []byte(log+"\n"+other))
	if err != nil {
		t.Fatal(err)
	}
	for i := range ids {
		if again[i].ChangeSet.RequestID != ids[i] {
			t.Errorf("line %d has another request id when the log has grown", i+1)
		}
	}
}

func TestNext_BadLineIsNamed(t *testing.T) {
	edit := func(old, new string) string { return strings.Replace(one, old, new, 1) }
	for bad, want := range map[string]string{
		"not json":                                 "invalid",
		one[:40]:                                   "EOF",
		edit(`"author":"ann"`, `"autor":"ann"`):    "/autor is not a field of a change log",
		edit(`"author":"ann",`, ``):                "author is missing",
		edit(`"ann"`, `"ann","author":"bob"`):      "duplicate",
		edit(`2022-10-10T`, `2021-10-10T`):         "is before 2022-10-10T10:40:23Z of test's line before it",
		edit(`2022-10-10T10:40:23Z`, `yesterday`):  "yesterday",
		edit(`"time":"2022-10-10T10:40:23Z",`, ``): "time is missing",
		edit(`"test"`, `"Test"`):                   `tenant "Test"`,
		edit(`a/b`, `a//b`):                        "changes[0]: key",
		edit(`a/c`, `a/b`):                         "changes[1]: a/b is changed twice",
		edit(`"delete":true`, `"delete":false`):    "changes[1] of a/c: set a value or delete",
		edit(`{"n": 1.0}`, `{"n":1,"n":2}`):        "duplicate",
		edit(`"value"`, `"delete":true,"value"`):   "one of the two",
	} {
		lines, err := readAll(t, []byte(one+"\n\n"+bad+"\n"+one))
		var le *LineError
		if !errors.As(err, &le) || le.Number != 3 || !strings.Contains(err.Error(), want) || len(lines) != 1 {
			t.Errorf("%s:\n%d lines, then %v; want line 3: ...%s", bad, len(lines), err, want)
		}
	}
}

func TestNext_TruncatedCompressedLog(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	for range 50 {
		io.WriteString(w, one+"\n")
		w.Flush()
	}
	w.Close()
	lines, err := readAll(t, packed.Bytes()[:packed.Len()/2])
	if !errors.Is(err, io.ErrUnexpectedEOF) || len(lines) == 0 || len(lines) == 50 {
		t.Errorf("%d lines, then %v", len(lines), err)
	}
}

func FuzzNext(f *testing.F) {
	f.Add([]byte(one))
	f.Add([]byte(one + "\n\n" + one + "\nx"))
	f.Add([]byte{0x1f, 0x8b, 8})
	f.Add([]byte("tenant: acme\ntime: 2025-01-01T00:00:00Z\nauthor: ann\nchanges:\n- {key: a/b, value: 1}\n---\nx\n"))
	f.Add([]byte("\xff\xfe{\x00}\x00\n\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := NewReader(bytes.NewReader(data), "")
		if err != nil {
			return
		}
		ids := make(map[string]bool)
		for last := 0; ; {
			l, err := r.Next()
			if err != nil {
				var le *LineError
				if err != io.EOF && !errors.As(err, &le) {
					t.Fatalf("an error without a line: %v", err)
				}
				return
			}
			if l.Number <= last || len(l.ChangeSet.Changes) == 0 || l.Tenant == "" || ids[l.ChangeSet.RequestID] {
				t.Fatalf("after line %d: %+v", last, l)
			}
			last, ids[l.ChangeSet.RequestID] = l.Number, true
		}
	})
}

// all reads a log and describes each line.
func all(t *testing.T, data string) (lines []string, err error) {
	t.Helper()
	r, err := NewReader(strings.NewReader(data), "acme")
	if err != nil {
		return nil, err
	}
	r.fresh = func() (string, error) { return "fresh", nil }
	for {
		l, err := r.Next()
		if err == io.EOF {
			return lines, nil
		}
		if err != nil {
			return lines, err
		}
		text := string(l.Tenant)
		if l.ChangeSet.Import == nil {
			text += " now " + l.ChangeSet.RequestID
		}
		if l.ID != "" {
			text += fmt.Sprintf(" %s %s", l.Revision, l.ID)
		}
		for _, c := range l.ChangeSet.Changes {
			text += fmt.Sprintf(" %s=%s", c.Key, c.Value)
		}
		lines = append(lines, text)
	}
}

const (
	exported = `{"key":"a/b","revision":3,"value":{"x":1.0}}
{"key":"a/c","revision":1,"value":"***","secret":false}
`
	logged = `{"tenant":"acme","revision":1,"id":"aa","parent":"","time":"2024-01-01T00:00:00Z","author":"ann","message":"m","changes":[{"key":"a/b","value":1}]}
{"tenant":"acme","revision":2,"id":"bb","parent":"aa","time":"2024-01-02T00:00:00Z","author":"ann","message":"m","reverts":[1],"changes":[{"key":"a/b","delete":true,"previous_revision":1,"was":1}]}
`
)

func TestNext_ReadsWhatExportAndLogWrite(t *testing.T) {
	utf16 := func(s string) string {
		out := "\xff\xfe"
		for _, b := range []byte(s) {
			out += string([]byte{b, 0})
		}
		return out
	}
	entries := []string{`acme now fresh a/b={"x":1.0} a/c="***"`}
	commits := []string{`acme @1 aa a/b=1`, `acme @2 bb a/b=`}
	for name, c := range map[string]struct {
		data string
		want []string
	}{
		"an export":              {exported, entries},
		"with a mark":            {"\xef\xbb\xbf" + exported, entries},
		"as UTF-16":              {utf16(exported), entries},
		"as UTF-16 without mark": {utf16(exported)[2:], entries},
		"as YAML":                {"key: \"a/b\"\nrevision: 3\nvalue:\n  x: 1.0\n---\nkey: \"a/c\"\nrevision: 1\nvalue: \"***\"\n", entries},
		"a log":                  {logged, commits},
		"a log with a mark":      {"\xef\xbb\xbf" + logged, commits},
		"both":                   {exported + logged + exported, []string{entries[0], commits[0], commits[1], entries[0]}},
	} {
		got, err := all(t, c.data)
		if d := cmp.Diff(c.want, got); err != nil || d != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, d)
		}
	}
	var many strings.Builder
	for i := range ledger.MaxChanges + 1 {
		fmt.Fprintf(&many, `{"key":"k%d","revision":1,"value":1}`+"\n", i)
	}
	if got, err := all(t, many.String()); err != nil || len(got) != 2 {
		t.Errorf("%d keys are %d change sets, %v", ledger.MaxChanges+1, len(got), err)
	}
	first, second, _ := strings.Cut(logged, "\n")
	for name, c := range map[string]struct{ data, want string }{
		"a secret":         {`{"key":"a/b","revision":1,"value":"***","secret":true}`, "line 1: a/b: .*--reveal"},
		"a key twice":      {exported + `{"key":"a/b","revision":1,"value":1}`, "line 3: a/b is in line 1"},
		"the newest first": {second + first, "line 2: revision 1 of acme comes after 2: .*--reverse"},
		"a partial commit": {strings.Replace(first, `"message"`, `"partial":true,"message"`, 1), "line 1: the commit is not whole"},
		"a masked value":   {strings.Replace(first, `"value":1`, `"value":"***"`, 1), "line 1: .*stands for a secret"},
		"another field":    {`{"key":"a/b","value":1,"valeu":2}`, "line 1: /valeu is not a field"},
	} {
		_, err := all(t, c.data)
		if err == nil || !regexp.MustCompile(c.want).MatchString(err.Error()) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

// TestReader_NewestFirst: nothing of a tenant is returned if its log begins with the newest
// commit. Lines of other tenants before that are.
func TestReader_NewestFirst(t *testing.T) {
	line := func(tenant string, revision int) string {
		return strings.Replace(one, `"tenant":"test"`, fmt.Sprintf(`"tenant":"%s","revision":%d`, tenant, revision), 1)
	}
	for _, c := range []struct {
		log  []string
		want string
		err  string
	}{
		{[]string{line("a", 1), line("a", 2)}, "a@1 a@2", ""},
		{[]string{line("a", 5)}, "a@5", ""},
		{[]string{line("a", 1), line("b", 1), line("a", 2)}, "a@1 b@1 a@2", ""},
		{[]string{line("a", 5), line("a", 4)}, "", "line 2: revision 4 of a comes after 5"},
		{[]string{line("a", 1), line("b", 7), line("a", 2), line("b", 6)}, "a@1 a@2", "line 4: revision 6 of b comes after 7"},
		{[]string{line("a", 1), line("b", 1), "{"}, "a@1 b@1", "line 3: "},
		{[]string{line("a", 1), line("a", 2), line("a", 1)}, "a@1 a@2", "line 3: revision 1 of a comes after 2"},
	} {
		lines, err := readAll(t, []byte(strings.Join(c.log, "\n")))
		var got []string
		for _, l := range lines {
			got = append(got, fmt.Sprint(l.Tenant, l.Revision))
		}
		if strings.Join(got, " ") != c.want || (err != nil) != (c.err != "") || err != nil && !strings.HasPrefix(err.Error(), c.err) {
			t.Errorf("%v: read %v, %v", c.log, got, err)
		}
	}
}
