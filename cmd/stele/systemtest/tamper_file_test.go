package systemtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/proto"
)

func flipBit(b []byte, rng *rand.Rand) string {
	at, bit := rng.IntN(len(b)), rng.IntN(8)
	b[at] ^= 1 << bit
	return fmt.Sprintf("bit %d of byte %d of %d", bit, at, len(b))
}

// swapParts exchanges two parts of the same length.
func swapParts(b []byte, rng *rand.Rand) string {
	for {
		n := 1 + rng.IntN(min(200, len(b)/2))
		i := rng.IntN(len(b) - 2*n + 1)
		j := i + n + rng.IntN(len(b)-i-2*n+1)
		if !bytes.Equal(b[i:i+n], b[j:j+n]) {
			part := bytes.Clone(b[i : i+n])
			copy(b[i:], b[j:j+n])
			copy(b[j:], part)
			return fmt.Sprintf("%d bytes at %d and %d of %d", n, i, j, len(b))
		}
	}
}

func auditTampers() []tamper {
	const target = "audit file"
	lines := func(kind string, edit func(l [][]byte, rng *rand.Rand) [][]byte) tamper {
		return tamper{target, kind, func(t *testing.T, e *evidence, rng *rand.Rand) string {
			l := bytes.SplitAfter(readFile(t, e.audit), []byte("\n"))
			writeFile(t, e.audit, bytes.Join(edit(l[:len(l)-1], rng), nil))
			return ""
		}}
	}
	return []tamper{
		{target, "flip a bit", func(t *testing.T, e *evidence, rng *rand.Rand) string {
			b := readFile(t, e.audit)
			what := flipBit(b, rng)
			writeFile(t, e.audit, b)
			return what
		}},
		{target, "cut", func(t *testing.T, e *evidence, rng *rand.Rand) string {
			b := readFile(t, e.audit)
			n := rng.IntN(len(b))
			writeFile(t, e.audit, b[:n])
			return fmt.Sprint("to ", n)
		}},
		lines("drop a line", func(l [][]byte, rng *rand.Rand) [][]byte {
			i := rng.IntN(len(l))
			return append(l[:i], l[i+1:]...)
		}),
		lines("repeat a line", func(l [][]byte, rng *rand.Rand) [][]byte {
			i := rng.IntN(len(l))
			return append(l[:i+1], l[i:]...)
		}),
		lines("reorder lines", func(l [][]byte, rng *rand.Rand) [][]byte {
			p := rng.Perm(len(l))
			l[p[0]], l[p[1]] = l[p[1]], l[p[0]]
			return l
		}),
		lines("replace a commit", func(l [][]byte, rng *rand.Rand) [][]byte {
			i := 1 + rng.IntN(len(l)-1)
			l[i] = editAuditLine(l[i], rng)
			return l
		}),
		{target, "sign with another key", func(t *testing.T, e *evidence, rng *rand.Rand) string {
			l := bytes.SplitAfterN(readFile(t, e.audit), []byte("\n"), 2)
			var head proof.AuditFile
			if err := json.Unmarshal(l[0], &head); err != nil {
				t.Fatal(err)
			}
			head.Checkpoint, head.Key = forge(t, head.Checkpoint)
			b, err := json.Marshal(head)
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, e.audit, append(append(b, '\n'), l[1]...))
			return ""
		}},
	}
}

// editAuditLine replaces the line's commit by another one that is well-formed.
func editAuditLine(line []byte, rng *rand.Rand) []byte {
	var in map[string]json.RawMessage
	var encoded []byte
	if err := json.Unmarshal(line, &in); err != nil {
		panic(err)
	}
	if err := json.Unmarshal(in["commit"], &encoded); err != nil {
		panic(err)
	}
	was, _ := json.Marshal(encoded)
	is, _ := json.Marshal(editCommit(encoded, rng))
	return bytes.Replace(line, was, is, 1)
}

// editCommit is another commit that is well-formed, in the same place.
func editCommit(encoded []byte, rng *rand.Rand) []byte {
	var c stelev1.Commit
	if err := proto.Unmarshal(encoded, &c); err != nil {
		panic(err)
	}
	switch ch := c.Changes[rng.IntN(len(c.Changes))]; rng.IntN(5) {
	case 0:
		c.Message += "!"
	case 1:
		c.Author = "eve"
	case 2:
		ch.Value, ch.Delete = `"changed"`, false
	case 3:
		ch.Key += "-changed"
	case 4:
		c.Time.Nanos ^= 1
	}
	b, err := proto.Marshal(&c)
	if err != nil {
		panic(err)
	}
	return b
}

// forge signs a checkpoint's text with another key of the same name.
func forge(t *testing.T, signed string) (forged, key string) {
	text, _, _ := strings.Cut(signed, "\n\n")
	epoch, err := ledger.ParseEpoch(strings.Split(strings.TrimPrefix(text, "stele/"), "\n")[0])
	if err != nil {
		t.Fatal(err)
	}
	secret, key, err := proof.GenerateKey(epoch)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	b, err := note.Sign(&note.Note{Text: text + "\n"}, signer)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), key
}

// fileTampers change the files of JetStream's folders, and whole files.
func fileTampers() []tamper {
	edit := func(target, pattern, kind string, f func(b []byte, rng *rand.Rand) ([]byte, string)) tamper {
		return tamper{target, kind, func(t *testing.T, e *evidence, rng *rand.Rand) string {
			name := pick(t, e, pattern, rng)
			b, what := f(readFile(t, name), rng)
			writeFile(t, name, b)
			return filepath.Base(filepath.Dir(filepath.Dir(name))) + "/" + filepath.Base(name) + " " + what
		}}
	}
	flip := func(b []byte, rng *rand.Rand) ([]byte, string) { return b, flipBit(b, rng) }
	cut := func(b []byte, rng *rand.Rand) ([]byte, string) {
		n := rng.IntN(len(b))
		return b[:n], fmt.Sprintf("to %d of %d", n, len(b))
	}
	swap := func(b []byte, rng *rand.Rand) ([]byte, string) { return b, swapParts(b, rng) }
	drop := func(target, pattern string) tamper {
		return tamper{target, "drop", func(t *testing.T, e *evidence, rng *rand.Rand) string {
			name := pick(t, e, pattern, rng)
			if err := os.RemoveAll(name); err != nil {
				t.Fatal(err)
			}
			return name[len(e.data):]
		}}
	}
	// Records about sinks prove nothing, and are not verified. Recorded reads are not
	// signed: a damaged end of their stream looks like one that was never written.
	const streams = "journal/jetstream/*/streams/"
	each := func(below string) string {
		return streams + "STELE" + below + " " + streams + "STELE-CHECKPOINTS" + below
	}
	return []tamper{
		edit("journal, block", each("/msgs/*.blk"), "flip a bit", flip),
		edit("journal, block", each("/msgs/*.blk"), "cut", cut),
		edit("journal, block", each("/msgs/*.blk"), "swap parts", swap),
		drop("journal, block", each("/msgs/*.blk")),
		edit("journal, stream's settings", each("/meta.*"), "flip a bit", flip),
		drop("journal, stream's settings", each("/meta.*")),
		drop("journal, stream", streams+"STELE "+streams+"STELE-CHECKPOINTS"),
		drop("tree.db, replica.db", "*.db"),
		{"tree.db, replica.db", "cut", func(t *testing.T, e *evidence, rng *rand.Rand) string {
			name := pick(t, e, "*.db", rng)
			n := rng.IntN(usedSize(t, name))
			writeFile(t, name, readFile(t, name)[:n])
			return fmt.Sprintf("%s to %d", filepath.Base(name), n)
		}},
		{"checkpoint.pub", "sign with another key", func(t *testing.T, e *evidence, _ *rand.Rand) string {
			name := filepath.Join(e.data, "identity", "checkpoint.pub")
			text, _, _ := strings.Cut(string(readFile(t, name)), "+")
			_, key := forge(t, text+"\n\n")
			writeFile(t, name, []byte(key+"\n"))
			return ""
		}},
	}
}

// pick is a file that holds something. Patterns are separated by spaces.
func pick(t *testing.T, e *evidence, patterns string, rng *rand.Rand) string {
	t.Helper()
	var all, names []string
	for pattern := range strings.FieldsSeq(patterns) {
		found, err := filepath.Glob(filepath.Join(e.data, pattern))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	for _, name := range all {
		if info, err := os.Stat(name); err == nil && info.Size() > 0 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		t.Fatalf("no file is %s", patterns)
	}
	return names[rng.IntN(len(names))]
}
