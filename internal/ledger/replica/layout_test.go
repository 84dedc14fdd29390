package replica

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/internal/boltfile"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// FuzzSpans compares the search for values in stored bytes with the decoder.
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
		at, err := spans(encoded, 0)
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
			key := nameKey("acme", "k")
			got, err := pointer{1, s, boltfile.Checksum(key, []byte(ch.Value))}.cut(key, encoded)
			if err != nil || string(got) != ch.Value {
				t.Fatalf("value %d is cut out as %q, %v", i, got, err)
			}
		}
	})
}

// FuzzEntries reads what a damaged file may hold: nothing panics, and what has
// the right checksum is what it says.
func FuzzEntries(f *testing.F) {
	key := nameKey("acme", "a/b")
	versions := []pointer{{9, span{1, 2}, boltfile.Checksum(key, []byte("bc"))}, {7, span{}, 0}}
	f.Add(key, sealKey(key, 3, versions))
	f.Add(key, tenantRecord{head: ledger.Head{Revision: 3, Time: -1}, versions: 9, kept: 2}.bytes(key))
	f.Add(key, positionValue(9, time.Unix(1, 0)))
	f.Add(key, sealPointers(key, nil, versions)[4:])
	f.Add(versionKey(key, 9), storedCommit{time: 1, sequence: 2, summary: []byte("a"), encoded: []byte("abc")}.value(key))
	f.Add(key, revisionValue(300))
	f.Fuzz(func(t *testing.T, key, b []byte) {
		if e, err := parseKey(key, b); err == nil {
			if all, err := e.newest.appendTo(nil); err == nil {
				got, err := parseKey(key, sealKey(key, e.blocks, all))
				if again, _ := got.newest.appendTo(nil); err != nil || got.blocks != e.blocks || !slices.Equal(again, all) {
					t.Errorf("key entry %v is read as %v, %v", e, got, err)
				}
			}
		}
		if all, err := pointers(b).appendTo(nil); err == nil {
			if got, err := pointers(sealPointers(key, nil, all)[4:]).appendTo(nil); err != nil || !slices.Equal(got, all) {
				t.Errorf("versions %v are read as %v, %v", all, got, err)
			}
			for i, p := range all {
				if got, ok, err := pointers(b).inForce(p.revision); got != p || !ok || err != nil {
					t.Errorf("version %d of %v in force is %v, %v, %v", i, all, got, ok, err)
				}
				if value, err := p.cut(key, []byte("abcdef")); err == nil && !bytes.Contains([]byte("abcdef"), value) {
					t.Errorf("the version's value %q is not in its commit", value)
				}
			}
		}
		if rec, err := parseTenantRecord(key, b); err == nil && !bytes.Equal(rec.bytes(key), b) {
			t.Errorf("tenant record %v is written differently", rec)
		}
		if seq, current, err := parsePosition(b); err == nil && !bytes.Equal(positionValue(seq, current), b) {
			t.Errorf("position %d, %s is written differently", seq, current)
		}
		if c, err := wholeCommit(key, b); err == nil && !bytes.Equal(c.value(key), b) {
			t.Errorf("commit %v is written differently", c)
		}
		if of, r, ok := splitVersion(key); ok && !bytes.Equal(append(append(bytes.Clone(of), 0), key[len(key)-8:]...), key) {
			t.Errorf("version %q is split into %q and %s", key, of, r)
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
func TestChecksum_FindsEveryFlippedBit(t *testing.T) {
	key := nameKey("acme", "a/b")
	sealed := sealKey(key, 0, []pointer{{7, span{90, 12}, 1}})
	for i := range 8 * len(sealed) {
		bad := bytes.Clone(sealed)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := parseKey(key, bad); err == nil {
			t.Errorf("the flipped bit %d is not detected", i)
		}
	}
	if _, err := parseKey(nameKey("acme", "a/c"), sealed); err == nil {
		t.Error("it is read under another key")
	}
}

// Versions go from the key's entry into blocks, none is lost, and adding the same
// ones again changes nothing.
func TestLayout_OldVersionsBecomeBlocks(t *testing.T) {
	key := nameKey("acme", "a/b")
	var all []pointer // newest first
	var sealed []byte
	blocks := make(map[string][]byte)
	for n := range 90 {
		var added []pointer
		for range n % 7 * n % 40 {
			added = slices.Insert(added, 0, pointer{ledger.Revision(len(all) + len(added) + 1), span{n, n}, uint32(n)})
		}
		if len(added) == 0 {
			continue
		}
		all = append(added, all...)
		for range 2 {
			newest, older, _, err := keyEntries(key, slices.Clone(added), sealed)
			if err != nil {
				t.Fatal(err)
			}
			sealed = newest.value
			for _, b := range older {
				if blocks[string(b.key)] != nil {
					t.Errorf("a block is written twice after %d versions", len(all))
				}
				blocks[string(b.key)] = b.value
			}
		}
		e, err := parseKey(key, sealed)
		if err != nil || e.blocks != len(blocks) {
			t.Fatalf("%d blocks, want %d: %v", e.blocks, len(blocks), err)
		}
		got, err := e.newest.appendTo(nil)
		for at, k := len(got), []byte(nil); err == nil && at < len(all); at += blockSize {
			k = versionKey(key, all[at+blockSize-1].revision)
			var older []byte
			if older, err = unseal(bucketVersions, k, blocks[string(k)]); err == nil {
				got, err = pointers(older).appendTo(got)
			}
		}
		if err != nil || !slices.Equal(got, all) {
			t.Fatalf("after %d versions the file has %v, %v", len(all), got, err)
		}
	}
}
