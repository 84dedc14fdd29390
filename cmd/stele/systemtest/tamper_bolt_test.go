package systemtest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// A boltEntry is an entry of one of the two files.
type boltEntry struct{ bucket, key, value []byte }

// entriesOf reads the entries of a file. What says how far a replica has come is
// left out: a replica that is behind is still one.
func entriesOf(t *testing.T, name string) []boltEntry {
	t.Helper()
	db, err := bolt.Open(name, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var out []boltEntry
	err = db.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(bucket []byte, b *bolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error {
				if string(k) == "position" || len(v) == 0 {
					return nil
				}
				out = append(out, boltEntry{bytes.Clone(bucket), bytes.Clone(k), bytes.Clone(v)})
				return nil
			})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// usedSize is the size of a file without the room that bbolt has made at its end,
// in bytes.
func usedSize(t *testing.T, name string) (size int) {
	t.Helper()
	db, err := bolt.Open(name, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bolt.Tx) error {
		size = int(tx.Size())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// pickEntry gives every bucket the same chance.
func pickEntry(t *testing.T, all []boltEntry, rng *rand.Rand) boltEntry {
	t.Helper()
	byBucket := make(map[string][]boltEntry)
	var names []string
	for _, e := range all {
		if byBucket[string(e.bucket)] == nil {
			names = append(names, string(e.bucket))
		}
		byBucket[string(e.bucket)] = append(byBucket[string(e.bucket)], e)
	}
	some := byBucket[names[rng.IntN(len(names))]]
	return some[rng.IntN(len(some))]
}

func updateEntries(t *testing.T, name string, f func(*bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(name, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(f); err != nil {
		t.Fatal(err)
	}
}

// seal gives an entry the checksum that the files' entries begin with.
func seal(key, value []byte) []byte {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(crc32.Checksum(key, table), table, value[4:])
	return append(binary.BigEndian.AppendUint32(nil, sum), value[4:]...)
}

func boltTampers() []tamper {
	var out []tamper
	for _, file := range []string{"tree.db", "replica.db"} {
		entry := func(kind string, f func(t *testing.T, name string, e boltEntry, all []boltEntry, rng *rand.Rand)) tamper {
			return tamper{file, kind, func(t *testing.T, ev *evidence, rng *rand.Rand) string {
				name := filepath.Join(ev.data, file)
				all := entriesOf(t, name)
				e := pickEntry(t, all, rng)
				f(t, name, e, all, rng)
				return fmt.Sprintf("%s %q", e.bucket, e.key)
			}}
		}
		out = append(out,
			entry("flip a bit", func(t *testing.T, name string, e boltEntry, _ []boltEntry, rng *rand.Rand) {
				was := slices.Concat(e.key, e.value) // as it is in a page; old pages may also contain it
				is := bytes.Clone(was)
				flipBit(is, rng)
				writeFile(t, name, bytes.ReplaceAll(readFile(t, name), was, is))
			}),
			entry("drop an entry", func(t *testing.T, name string, e boltEntry, _ []boltEntry, _ *rand.Rand) {
				updateEntries(t, name, func(tx *bolt.Tx) error { return tx.Bucket(e.bucket).Delete(e.key) })
			}),
			entry("replace an entry, sealed", func(t *testing.T, name string, e boltEntry, _ []boltEntry, rng *rand.Rand) {
				value := bytes.Clone(e.value)
				if len(value) > 4 {
					flipBit(value[4:], rng)
					if string(e.bucket) != "requests" && (string(e.bucket) != "meta" || string(e.key) == "state") {
						value = seal(e.key, value)
					}
				} else {
					flipBit(value, rng)
				}
				updateEntries(t, name, func(tx *bolt.Tx) error { return tx.Bucket(e.bucket).Put(e.key, value) })
			}),
			entry("add an entry, sealed", func(t *testing.T, name string, e boltEntry, all []boltEntry, rng *rand.Rand) {
				key := append(bytes.Clone(e.key), byte(rng.IntN(256)))
				value := bytes.Clone(e.value)
				if len(value) > 4 && string(e.bucket) != "meta" {
					value = seal(key, value)
				}
				updateEntries(t, name, func(tx *bolt.Tx) error { return tx.Bucket(e.bucket).Put(key, value) })
			}),
			entry("swap entries, sealed", func(t *testing.T, name string, e boltEntry, all []boltEntry, rng *rand.Rand) {
				for _, i := range rng.Perm(len(all)) {
					o := all[i]
					if !bytes.Equal(o.bucket, e.bucket) || len(o.value) <= 4 || len(e.value) <= 4 || bytes.Equal(o.value[4:], e.value[4:]) {
						continue
					}
					updateEntries(t, name, func(tx *bolt.Tx) error {
						b := tx.Bucket(e.bucket)
						if err := b.Put(e.key, seal(e.key, o.value)); err != nil {
							return err
						}
						return b.Put(o.key, seal(o.key, e.value))
					})
					return
				}
				updateEntries(t, name, func(tx *bolt.Tx) error { return tx.Bucket(e.bucket).Delete(e.key) }) // it is alone
			}),
		)
	}
	return out
}
