package replica

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/stelehq/stele/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// FuzzSpans holds the search for values in stored bytes against the decoder.
func FuzzSpans(f *testing.F) {
	commit, err := proto.Marshal(&stelev1.Commit{
		Epoch: []byte("epoch..."), Tenant: "acme", Revision: 7, Message: "why",
		Changes: []*stelev1.Change{{Key: "a", Value: `{"b":[1,2]}`, PreviousRevision: 3}, {Key: "gone", Delete: true}, {Key: "c", Value: "1"}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(commit)
	f.Add(append(slices.Clone(commit), commit...)) // two encodings one after the other are merged
	twice := protowire.AppendString(protowire.AppendTag(nil, 2, protowire.BytesType), "first")
	twice = protowire.AppendString(protowire.AppendTag(twice, 2, protowire.BytesType), "last")
	f.Add(protowire.AppendBytes(protowire.AppendTag(nil, 10, protowire.BytesType), twice))
	f.Fuzz(func(t *testing.T, encoded []byte) {
		at, err := spans(encoded)
		var c stelev1.Commit
		if proto.Unmarshal(encoded, &c) != nil {
			return // never stored; spans only must not panic
		}
		if err != nil || len(at) != len(c.Changes) {
			t.Fatalf("%d values, %v; the commit has %d", len(at), err, len(c.Changes))
		}
		for i, ch := range c.Changes {
			s := at[i]
			if got := string(encoded[s.offset : s.offset+s.length]); got != ch.Value {
				t.Fatalf("value %d is %q, not %q", i, got, ch.Value)
			}
			key := versionKey("acme", ledger.Key("k"), 1)
			got, err := cutVersion(key, s.bytes(key, []byte(ch.Value)), encoded)
			if err != nil || string(got) != ch.Value {
				t.Fatalf("value %d is cut out as %q, %v", i, got, err)
			}
		}
	})
}

// FuzzEntries reads what a damaged file may hold: nothing panics, and what has
// the right checksum is what it says.
func FuzzEntries(f *testing.F) {
	key := newestKey("acme", "a/b")
	f.Add(key, newestEntry{7, []byte("1")}.bytes(key))
	f.Add(key, tenantRecord{head: ledger.Head{Revision: 3, Time: -1}, changes: 9}.bytes(key))
	f.Add(key, positionValue(key, 9, time.Unix(1, 0)))
	f.Add(key, span{1, 2}.bytes(key, []byte("bc")))
	f.Add(versionKey("acme", "a", 9), storedCommit{1, 2, []byte("abc")}.value(key))
	f.Add(key, revisionValue(300))
	f.Fuzz(func(t *testing.T, key, b []byte) {
		if e, err := parseNewest(key, b); err == nil {
			if got, err := parseNewest(key, e.bytes(key)); err != nil || got.revision != e.revision || !bytes.Equal(got.value, e.value) {
				t.Errorf("newest entry %v is read as %v, %v", e, got, err)
			}
		}
		if rec, err := parseTenantRecord(key, b); err == nil && !bytes.Equal(rec.bytes(key), b) {
			t.Errorf("tenant record %v is written differently", rec)
		}
		if seq, current, err := parsePosition(key, b); err == nil && !bytes.Equal(positionValue(key, seq, current), b) {
			t.Errorf("position %d, %s is written differently", seq, current)
		}
		if c, err := splitCommit(key, b); err == nil && !bytes.Equal(c.value(key)[4:], b[4:]) {
			t.Errorf("commit %v is written differently", c)
		}
		if of, r, ok := splitVersion(key); ok && !bytes.Equal(append(append(bytes.Clone(of), 0), key[len(key)-8:]...), key) {
			t.Errorf("version %q is split into %q and %s", key, of, r)
		}
		if value, err := cutVersion(key, b, []byte("abcdef")); err == nil && !bytes.Contains([]byte("abcdef"), value) {
			t.Errorf("the version's value %q is not in its commit", value)
		}
		if r, err := parseRevision(bucketIDs, key, b); err == nil {
			if got, err := parseRevision(bucketIDs, key, revisionValue(r)); err != nil || got != r {
				t.Errorf("revision %s is read as %s, %v", r, got, err)
			}
		}
	})
}

// A sealed entry is seen to be damaged wherever a bit flips, and in another
// place than its own.
func TestAChecksumSeesEveryFlippedBit(t *testing.T) {
	key := newestKey("acme", "a/b")
	sealed := newestEntry{7, []byte(`"value"`)}.bytes(key)
	for i := range 8 * len(sealed) {
		bad := bytes.Clone(sealed)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := parseNewest(key, bad); err == nil {
			t.Errorf("bit %d flipped, and nobody sees it", i)
		}
	}
	if _, err := parseNewest(newestKey("acme", "a/c"), sealed); err == nil {
		t.Error("it is read under another key")
	}
}
