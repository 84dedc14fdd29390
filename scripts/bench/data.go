package main

import (
	"fmt"
	"math/rand/v2"

	"github.com/stelehq/stele/scripts/bench/peer"
)

const (
	// valueSize is the length of a value: a JSON string of random letters.
	valueSize = 256
	// setSize is how many keys a batch, a transaction or a change set has.
	setSize = 100
)

// dataset is the keys that the callers choose from: every tenant has the same.
type dataset struct {
	tenants []string
	keys    []string
}

// newDataset spreads about keys keys over the tenants.
func newDataset(keys, tenants int) dataset {
	var d dataset
	for i := range tenants {
		d.tenants = append(d.tenants, fmt.Sprintf("tenant-%03d", i))
	}
	for i := range max(keys/tenants, setSize) {
		d.keys = append(d.keys, fmt.Sprintf("tenantconfig/svc-%04d/setting-%06d", i/100, i))
	}
	return d
}

// spreadDataset spreads keys keys over the tenants, at least one each. Unlike those
// of newDataset they may be too few for a change set.
func spreadDataset(keys, tenants int) dataset {
	d := newDataset(keys, tenants)
	d.keys = d.keys[:max(1, keys/tenants)]
	return d
}

func (d dataset) tenant(rng *rand.Rand) string { return d.tenants[rng.IntN(len(d.tenants))] }
func (d dataset) key(rng *rand.Rand) string    { return d.keys[rng.IntN(len(d.keys))] }

// entry is a random key with a random value.
func (d dataset) entry(rng *rand.Rand) peer.Entry {
	return peer.Entry{Key: d.key(rng), Value: randomValue(rng)}
}

// set is setSize different keys.
func (d dataset) set(rng *rand.Rand) []string {
	// Steps of a large prime return to no key before the set is full.
	const step = 1_000_003
	keys := make([]string, setSize)
	at := rng.IntN(len(d.keys))
	for i := range keys {
		keys[i] = d.keys[at]
		at = (at + step) % len(d.keys)
	}
	return keys
}

// entries gives every key a random value.
func entries(rng *rand.Rand, keys []string) []peer.Entry {
	set := make([]peer.Entry, len(keys))
	for i, k := range keys {
		set[i] = peer.Entry{Key: k, Value: randomValue(rng)}
	}
	return set
}

// letters is where values are cut from, because making them one letter at a
// time would take the load generator longer than a read takes the server.
var letters = func() string {
	b := make([]byte, 1<<20)
	rng := newRand(0)
	for i := range b {
		b[i] = byte('a' + rng.IntN(26))
	}
	return string(b)
}()

func randomValue(rng *rand.Rand) string {
	const n = valueSize - 2
	at := rng.IntN(len(letters) - n)
	return `"` + letters[at:at+n] + `"`
}

// newRand is the source of one caller: the same in every run and for every peer.
func newRand(caller int) *rand.Rand { return rand.New(rand.NewPCG(uint64(caller), 42)) }
