package secret

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
)

// A tenant's keys are in one message, with one of two names. A change is written under the
// other name, and then the old message is erased, which makes the servers write over it:
// a message that is only replaced stays readable in their files until they compact
// these. Killed in between, both are there, and the newer one counts. No tenant has a "+" in
// its name, and a process is allowed to write names of one token only.
const otherName = "+2"

// find reads the tenant's keys. Of the messages that hold them, none or one or two, the
// newest comes first.
func (k *Keyring) find(ctx context.Context, keys Keys, t ledger.Tenant) (s stored, entries []journal.Entry, err error) {
	// A change moves the keys from one name to the other between two reads, so the first
	// name is read again if neither had them.
	for _, name := range []string{string(t), string(t) + otherName, string(t)} {
		entry, err := keys.Get(ctx, name)
		if err != nil {
			return s, nil, err
		}
		if entry.Sequence > 0 {
			entries = append(entries, entry)
		}
		if len(entries) > 0 && name != string(t) {
			break
		}
	}
	if len(entries) == 0 {
		return s, nil, nil
	}
	slices.SortFunc(entries, func(a, b journal.Entry) int { return int(b.Sequence) - int(a.Sequence) })
	if err := json.Unmarshal(entries[0].Body, &s); err != nil || slices.ContainsFunc(s.ids(), func(id string) bool { return !validID(id) }) {
		return s, entries, fmt.Errorf("the keys of %s next to the journal (message %d of STELE-KEYS) cannot be read", t, entries[0].Sequence)
	}
	return s, entries, nil
}

// put writes a tenant's keys under an unused name.
func put(ctx context.Context, keys Keys, name string, s stored) error {
	body, err := json.Marshal(s)
	if err != nil {
		return err
	}
	_, err = keys.Put(ctx, name, 0, body)
	return err
}

// erase erases messages, the oldest first: what is newer counts until it is gone itself.
func erase(ctx context.Context, keys Keys, entries []journal.Entry) error {
	for _, n := range slices.Backward(entries) {
		if err := keys.Erase(ctx, n.Sequence); err != nil {
			return err
		}
	}
	return nil
}
