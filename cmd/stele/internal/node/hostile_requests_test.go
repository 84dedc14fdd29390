package node_test

import (
	"bytes"
	"crypto/sha256"
	"math"
	"math/rand/v2"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// pool is what requests are made of.
type pool struct {
	keys, prefixes, tokens, junk []string
	bytes                        [][]byte
}

// knownKeys are keys of the victim that one could guess.
var knownKeys = []string{"tenantconfig/checkout/timeout_ms", "paramconfig/db/password", openPrefix + "known", openPrefix + "other", "private/known", sampleKey}

// sampleKey is a key that the interface of the AWS reference implementation also
// supports.
const sampleKey = "param_config_known"

func newPool() *pool {
	p := &pool{
		keys: append([]string{"tenantconfig/a", "tenantconfig/b", "paramconfig/mine", openPrefix + "mine", openPrefix + "mine/too"}, knownKeys...),
		prefixes: []string{
			"", "tenantconfig/", "paramconfig/", openPrefix, "open", "private/", "private", "p", openPrefix + "k", "tenantconfig/checkout/",
		},
		tokens: []string{"", "MCwxOg", "MCwxOnByaXZhdGUv", "MSwyOm9wZW4v", "1", "18446744073709551615", "-1", "AAAA", "==", "thief"},
		junk: []string{
			"*", ">", ".", "..", "/", "//", "a//b", "a/", "/a", "%2e", "%2e%2e/", "%00", "\x00", "a\x00b", "a\nb", " ", "\t", "_system", "_", "$JS.API.>", "stele.v1.>",
			"open/../private/known", "open/%2e%2e/private/known", "open/./known", "./open/known", "open\\..\\private", "OPEN/known", "open/known ",
			"ключ", "密钥/值", "e\u0301", "é", "ⅰ", "．．/", "\u202eopen/", "🗝", "\ufeff", "ſystem", "open∕known",
			strings.Repeat("k", 512), strings.Repeat("k", 513), strings.Repeat("p/", 256), strings.Repeat("x", 20_000), strings.Repeat("../", 200),
			"' OR 1=1 --", "{}", "${private/known}", "{{.}}", "<x>", "policy/vault/reads", "projector/routes",
		},
		bytes: [][]byte{nil, {0}, {0, 0, 0, 0}, make([]byte, 32), []byte("nowhere")},
	}
	return p
}

// generator makes requests.
type generator struct {
	*rand.Rand
	pool *pool
	// writes is set for values that are stored, and returned later: the victims' names
	// are not in it, so that their source is known.
	writes bool
}

func (g *generator) one(of []string) string { return of[g.IntN(len(of))] }

func (g *generator) weighted(weights []int) int {
	sum := 0
	for _, w := range weights {
		sum += w
	}
	n := g.IntN(sum)
	for i, w := range weights {
		if n -= w; n < 0 {
			return i
		}
	}
	panic("unreachable")
}

// fill sets the fields of a message: mostly to what passes the first checks,
// because what does not cannot find anything.
func (g *generator) fill(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range m.Descriptor().Oneofs().Len() {
		if o := m.Descriptor().Oneofs().Get(i); !o.IsSynthetic() && g.IntN(15) > 0 {
			g.set(m, o.Fields().Get(g.IntN(o.Fields().Len())), depth)
		}
	}
	for i := range fields.Len() {
		f := fields.Get(i)
		likely := 70 // percent
		switch {
		case f.ContainingOneof() != nil && !f.ContainingOneof().IsSynthetic():
			continue
		case f.HasOptionalKeyword(), f.Name() == "import", f.Name() == "preconditions", f.Name() == "reveal", f.Name() == "path":
			likely = 10 // most of those are refused, and then nothing else happens
		case f.Name() == "sink", f.Name() == "operation", f.Name() == "changes", f.Name() == "revisions", f.Name() == "tree_size", strings.HasSuffix(string(f.Name()), "_revision"):
			likely = 95
		}
		if g.IntN(100) < likely {
			g.set(m, f, depth)
		}
	}
	if m.Descriptor().Name() == "Change" && g.IntN(20) > 0 { // set or delete, one of the two
		drop := protoreflect.Name("delete")
		if g.IntN(5) == 0 {
			drop = "value"
			m.Set(fields.ByName("delete"), protoreflect.ValueOfBool(true))
		} else {
			m.Set(fields.ByName("value"), protoreflect.ValueOfString(`"mine"`))
		}
		m.Clear(fields.ByName(drop))
	}
}

func (g *generator) set(m protoreflect.Message, f protoreflect.FieldDescriptor, depth int) {
	switch {
	case f.IsList():
		list := m.Mutable(f).List()
		for range 1 + g.IntN(2)*g.IntN(3) {
			if f.Message() == nil {
				list.Append(g.scalar(f))
			} else if depth < 6 {
				g.fill(list.AppendMutable().Message(), depth+1)
			}
		}
	case f.Message() != nil && f.Message().FullName() == "google.protobuf.Timestamp":
		at := m.Mutable(f).Message()
		seconds := []int64{0, -1, 1_700_000_000, 1_900_000_000, math.MaxInt64, 1_795_000_000}
		at.Set(at.Descriptor().Fields().ByName("seconds"), protoreflect.ValueOfInt64(seconds[g.IntN(len(seconds))]))
	case f.Message() != nil:
		if depth < 6 {
			g.fill(m.Mutable(f).Message(), depth+1)
		}
	default:
		m.Set(f, g.scalar(f))
	}
}

func (g *generator) scalar(f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		if f.ParentFile().Package() == "configuration" && g.IntN(3) == 0 { // it knows only keys like this one
			return protoreflect.ValueOfString(sampleKey)
		}
		return protoreflect.ValueOfString(strings.ToValidUTF8(g.text(string(f.Name())), ""))
	case protoreflect.BytesKind:
		if strings.HasSuffix(string(f.Name()), "_id") && g.IntN(10) > 1 { // a wrong one is refused at once
			return protoreflect.ValueOfBytes(nil)
		}
		if f.FullName() == "stele.v1.PromotionOrigin.id" { // it is stored as the caller states it, and would be found there
			return protoreflect.ValueOfBytes(bytes.Repeat([]byte{7}, sha256.Size))
		}
		return protoreflect.ValueOfBytes(g.pool.bytes[g.IntN(len(g.pool.bytes))])
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(g.IntN(2) == 0 || f.Name() == "dry_run" && g.IntN(4) > 0)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(f.Enum().Values().Get(g.IntN(f.Enum().Values().Len())).Number())
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(g.number(string(f.Name()))))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(g.number(string(f.Name()))))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(int64(g.number(string(f.Name()))))
	default:
		return protoreflect.ValueOfUint64(g.number(string(f.Name())))
	}
}

// text is a string for a field of that name.
func (g *generator) text(name string) string {
	if g.IntN(20) == 0 {
		if s := g.one(g.pool.junk); !g.writes || !strings.Contains(s, victimName) {
			return s
		}
	}
	switch name {
	case "key", "keys":
		if g.IntN(10) == 0 && !g.writes {
			return twins[0]
		}
		return g.one(g.pool.keys)
	case "prefix", "prefixes", "selector":
		return g.one(g.pool.prefixes)
	case "page_token":
		if g.IntN(2) == 0 {
			return ""
		}
		return g.one(g.pool.tokens)
	case "sink":
		return "files"
	case "operation":
		return g.one([]string{"read", "write", "audit", "administer", "reveal"})
	case "author", "grep", "name":
		if g.IntN(2) == 0 {
			return ""
		}
		return g.one([]string{"owner", "hid", "closed", "thief-0", "insider-8", "mine"})
	case "pattern":
		return g.one([]string{".", victimName, "mine|hid", "["})
	case "path":
		return g.one([]string{"/type", "/0"})
	case "where":
		return g.one([]string{`key != ""`, `size(value) > 1`, `value == "mine"`, "value > 1", "valu"})
	case "value", "document":
		return g.one([]string{`"mine"`, "false", "{}", `{"type":"integer"}`, `{"$ref":"stele:///private/known"}`})
	case "message", "request_id":
		if g.IntN(2) == 0 {
			return ""
		}
		return g.one([]string{"mine", "id-1", "id-2", "why"})
	}
	return g.one(g.pool.keys)
}

// number is one for a field of that name.
func (g *generator) number(name string) uint64 {
	switch {
	case name == "id":
		return 1 + g.Uint64N(1000)
	case g.IntN(100) == 0:
		return []uint64{math.MaxUint64, math.MaxInt64, math.MaxUint32, 1 << 40}[g.IntN(4)]
	case name == "min_revision" || name == "expected_head" || name == "covers_revision":
		if g.IntN(10) > 1 {
			return 0
		}
		return g.Uint64N(5)
	case name == "revisions": // later commits are rarely in the way of the newest ones
		return 1 + g.Uint64N(150)
	case name == "from_revision":
		return g.Uint64N(6)
	case name == "page_size":
		return g.Uint64N(50)
	case strings.HasSuffix(name, "size"):
		return 1 + g.Uint64N(40)
	}
	return g.Uint64N(30)
}
