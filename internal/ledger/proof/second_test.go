package proof_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
)

// A second verifier, written against docs/proof.md and nothing else.

var errSecond = errors.New("the second verifier refuses it")

// must turns a violated condition into errSecond, at the border of each entry.
func must(so bool) {
	if !so {
		panic(errSecond)
	}
}

func refused(err *error) {
	if r := recover(); r != nil {
		*err = r.(error)
	}
}

// secondKey is one of a ledger's keys, which signs from a size on.
type secondKey struct {
	text, name   string
	hash, public []byte
	from         uint64
}

func secondParseKey(text string) secondKey {
	parts := strings.SplitN(text, "+", 3)
	must(len(parts) == 3)
	public := unbase64(parts[2])
	must(len(public) == 1+ed25519.PublicKeySize && public[0] == 1)
	hash := sha256.Sum256(append([]byte(parts[0]+"\n"), public...))
	must(parts[1] == hex.EncodeToString(hash[:4]))
	return secondKey{text: text, name: parts[0], hash: hash[:4], public: public[1:]}
}

// secondKeys reads a ledger's keys: the first one, and each handover after an empty line.
func secondKeys(text string) []secondKey {
	blocks := strings.Split(strings.TrimSuffix(text, "\n"), "\n\n")
	must(len(blocks)%2 == 1)
	keys := []secondKey{secondParseKey(blocks[0])}
	for i := 1; i < len(blocks); i += 2 {
		c := secondOpen(blocks[i]+"\n\n"+blocks[i+1]+"\n", keys)
		must(c.successor != nil && c.signer.text == keys[len(keys)-1].text)
		c.successor.from = c.size
		keys = append(keys, *c.successor)
	}
	return keys
}

// signs checks a signature line.
func (k secondKey) signs(line, text string) bool {
	encoded, ok := strings.CutPrefix(line, "— "+k.name+" ")
	must(ok)
	sig := unbase64(encoded)
	must(len(sig) == 4+ed25519.SignatureSize)
	return bytes.Equal(sig[:4], k.hash) && ed25519.Verify(k.public, []byte(text), sig[4:])
}

type secondCheckpoint struct {
	epoch []byte
	size  uint64
	root  []byte
	// signer is the key that made the first signature, and successor the one that a
	// handover names.
	signer    secondKey
	successor *secondKey
}

func secondOpen(signed string, keys []secondKey) (c secondCheckpoint) {
	text, signatures, ok := strings.Cut(signed, "\n\n")
	must(ok)
	text += "\n"
	lines, sigs := strings.Split(text, "\n"), strings.Split(signatures, "\n")
	must(sigs[len(sigs)-1] == "")
	sigs = sigs[:len(sigs)-1]
	switch len(lines) {
	case 4:
		must(len(sigs) == 1)
	case 5:
		successor, ok := strings.CutPrefix(lines[3], "successor ")
		must(ok && len(sigs) == 2)
		next := secondParseKey(successor)
		must(next.name == keys[0].name && next.signs(sigs[1], text))
		c.successor = &next
	default:
		panic(errSecond)
	}
	name := strings.TrimPrefix(lines[0], "stele/")
	must(lines[0] == keys[0].name && lines[0] != name)
	var err error
	c.epoch, err = hex.DecodeString(name)
	must(err == nil && len(c.epoch) == 8)
	c.size = number(lines[1])
	c.root = unbase64(lines[2])
	must(len(c.root) == 32)

	for i, k := range keys {
		if !k.signs(sigs[0], text) {
			continue
		}
		must(c.size >= k.from)
		if i+1 < len(keys) {
			must(c.size <= keys[i+1].from && (c.successor == nil || c.successor.text == keys[i+1].text))
		}
		c.signer = k
		return c
	}
	panic(errSecond)
}

func unbase64(s string) []byte {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	must(err == nil && base64.StdEncoding.EncodeToString(b) == s)
	return b
}

func number(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 63)
	must(err == nil && strconv.FormatUint(n, 10) == s)
	return n
}

type secondCommit struct {
	id            []byte
	epoch, parent []byte
	tenant        string
	revision      uint64
	nanos         int64
}

func secondRead(encoded []byte) (c secondCommit) {
	id := sha256.Sum256(append([]byte{0}, encoded...))
	c.id = id[:]
	fields := protobuf(encoded)
	c.epoch, c.tenant, c.revision, c.parent = fields[1].bytes, string(fields[2].bytes), fields[3].number, fields[4].bytes
	t := protobuf(fields[5].bytes)
	c.nanos = int64(t[1].number)*1e9 + int64(t[2].number)
	return c
}

type field struct {
	bytes  []byte
	number uint64
}

// protobuf reads the fields of a message, the last of each number.
func protobuf(b []byte) map[uint64]field {
	out := make(map[uint64]field)
	varint := func() uint64 {
		v, n := binary.Uvarint(b)
		must(n > 0)
		b = b[n:]
		return v
	}
	for len(b) > 0 {
		tag := varint()
		f := field{number: varint()}
		if tag&7 == 2 {
			must(f.number <= uint64(len(b)))
			f.bytes, b = b[:f.number], b[f.number:]
		} else {
			must(tag&7 == 0)
		}
		out[tag>>3] = f
	}
	return out
}

// included follows an audit path from the leaf up (RFC 9162, 2.1.3.2).
func (c secondCheckpoint) included(leaf []byte, index uint64, path [][]byte) {
	must(index < c.size)
	node := func(l, r []byte) []byte {
		h := sha256.Sum256(append(append([]byte{1}, l...), r...))
		return h[:]
	}
	fn, sn, r := index, c.size-1, leaf
	for _, p := range path {
		must(sn > 0)
		if fn&1 == 1 || fn == sn {
			r = node(p, r)
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			r = node(r, p)
		}
		fn, sn = fn>>1, sn>>1
	}
	must(sn == 0 && bytes.Equal(r, c.root))
}

// secondReceipt verifies a receipt with a ledger's key or keys.
func secondReceipt(text, key string) (err error) {
	defer refused(&err)
	head, signed, ok := strings.Cut(text, "\n\n")
	must(ok)
	c := secondOpen(signed, secondKeys(key))
	lines := strings.Split(head, "\n")
	must(len(lines) >= 3 && lines[0] == "c2sp.org/tlog-proof@v1" && strings.HasPrefix(lines[1], "extra ") && strings.HasPrefix(lines[2], "index "))
	var path [][]byte
	for _, l := range lines[3:] {
		path = append(path, unbase64(l))
	}
	commit := secondRead(unbase64(lines[1][len("extra "):]))
	must(bytes.Equal(commit.epoch, c.epoch))
	c.included(commit.id, number(lines[2][len("index "):]), path)
	return nil
}

// secondAudit verifies an audit file.
func secondAudit(file, key string) (err error) {
	defer refused(&err)
	lines := strings.Split(file, "\n")
	var head struct {
		Format     string `json:"format"`
		Tenant     string `json:"tenant"`
		From       uint64 `json:"from"`
		To         uint64 `json:"to"`
		Key        string `json:"key"`
		Checkpoint string `json:"checkpoint"`
	}
	strict(lines[0], &head)
	must(head.Format == "stele-audit-1" && 1 <= head.From && head.From <= head.To)
	must(uint64(len(lines)) == head.To-head.From+3 && lines[len(lines)-1] == "")
	c := secondOpen(head.Checkpoint, secondKeys(key))
	must(head.Key == c.signer.text)
	var before secondCommit
	var last uint64
	for i, l := range lines[1 : len(lines)-1] {
		var in struct {
			Index  uint64   `json:"index"`
			Path   [][]byte `json:"path"`
			Commit []byte   `json:"commit"`
		}
		strict(l, &in)
		must(in.Path != nil)
		commit := secondRead(in.Commit)
		c.included(commit.id, in.Index, in.Path)
		must(bytes.Equal(commit.epoch, c.epoch) && commit.tenant == head.Tenant && commit.revision == head.From+uint64(i))
		if i > 0 {
			must(in.Index > last && bytes.Equal(commit.parent, before.id) && commit.nanos >= before.nanos)
		} else if head.From == 1 {
			must(len(commit.parent) == 0)
		}
		before, last = commit, in.Index
	}
	return nil
}

// strict reads a line of JSON that is written in the one way there is.
func strict(line string, v any) {
	must(json.Unmarshal([]byte(line), v) == nil)
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	must(enc.Encode(v) == nil && b.String() == line+"\n")
}
