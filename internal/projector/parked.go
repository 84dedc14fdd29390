package projector

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// letter is a dead letter: a key, or for a sink that gets every change a change of it,
// that the sink rejects. It is stored as JSON, so that other programs can read it; the
// value is in the ledger.
type letter struct {
	Sink     string          `json:"sink"`
	Tenant   ledger.Tenant   `json:"tenant"`
	Key      ledger.Key      `json:"key"`
	Revision ledger.Revision `json:"revision"`
	Position int             `json:"position"`
	Reason   string          `json:"reason"`
	// Other is the key that is in the way, if one is.
	Other    ledger.Key `json:"other,omitzero"`
	Since    time.Time  `json:"since"`
	Attempts int        `json:"attempts"`
	// Skipped is set if the key was given up until it changes again.
	Skipped bool `json:"skipped,omitzero"`
}

func (l letter) proto() *stelev1.Parked {
	return &stelev1.Parked{
		Tenant: string(l.Tenant), Key: string(l.Key), Revision: uint64(l.Revision), Reason: l.Reason,
		Since: timestamppb.New(l.Since), Attempts: uint32(l.Attempts), Skipped: l.Skipped, Other: string(l.Other),
	}
}

// slot says what only one letter can be of: a key, or one change of it.
type slot struct {
	tenant   ledger.Tenant
	key      ledger.Key
	revision ledger.Revision // 0 in a store
}

// name of the slot's letter. A key may contain characters that a subject may not.
func (s slot) name(sink string) string {
	name := sink + "." + string(s.tenant) + "." + base64.RawURLEncoding.EncodeToString([]byte(s.key))
	if s.revision > 0 {
		name += "." + strconv.FormatUint(uint64(s.revision), 10)
	}
	return name
}

// parked are a sink's dead letters. They belong to the goroutine that runs the sink.
type parked struct {
	bucket *journal.Bucket
	sink   string
	every  bool // one letter per change, not per key

	letters map[slot]parkedLetter
}

type parkedLetter struct {
	storedLetter
	tried time.Time // last by this process; zero for never
}

func (p *parked) slot(t ledger.Tenant, key ledger.Key, rev ledger.Revision) slot {
	if !p.every {
		rev = 0
	}
	return slot{t, key, rev}
}

// storedLetter is a dead letter, and the sequence of its message.
type storedLetter struct {
	letter
	seq ledger.Sequence
}

// readLetters yields the dead letters of a sink, "" for all sinks. An error is the last that
// it yields.
func readLetters(ctx context.Context, bucket *journal.Bucket, sink string) iter.Seq2[storedLetter, error] {
	return func(yield func(storedLetter, error) bool) {
		for n, err := range bucket.All(ctx, sink) {
			l := storedLetter{seq: n.Sequence}
			if err == nil {
				if err = json.Unmarshal(n.Body, &l.letter); err != nil {
					err = fmt.Errorf("decode the dead letter %s: %w", n.Name, err)
				}
			}
			if !yield(l, err) || err != nil {
				return
			}
		}
	}
}

func (p *parked) load(ctx context.Context) error {
	p.letters = make(map[slot]parkedLetter)
	for l, err := range readLetters(ctx, p.bucket, p.sink) {
		if err != nil {
			return err
		}
		p.letters[p.slot(l.Tenant, l.Key, l.Revision)] = parkedLetter{storedLetter: l}
	}
	return nil
}

// keep removes the letters of other keys: their routes lead elsewhere now.
func (p *parked) keep(ctx context.Context, wants func(ledger.Key) bool) error {
	for s := range p.letters {
		if wants(s.key) {
			continue
		}
		if err := p.remove(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// countAttempt records one more rejection of a parked key, for the same reason. The count
// of attempts is kept in memory only: it is not worth a durable write.
func (p *parked) countAttempt(l letter, now time.Time) bool {
	s := p.slot(l.Tenant, l.Key, l.Revision)
	is, ok := p.letters[s]
	if !ok || is.Skipped || is.Revision != l.Revision || is.Reason != l.Reason {
		return false
	}
	is.Attempts += l.Attempts
	is.tried = now
	p.letters[s] = is
	return true
}

// skippedSince reports whether the letter's key was given up after the rejected attempt
// was queued.
func (p *parked) skippedSince(l letter, queued time.Time) bool {
	is, ok := p.letters[p.slot(l.Tenant, l.Key, l.Revision)]
	return ok && is.Skipped && is.Revision == l.Revision && is.tried.After(queued)
}

// due returns letters that were last tried before a time, at most so many, and notes
// that they are tried now.
func (p *parked) due(before time.Time, most int) []letter {
	var out []letter
	for s, l := range p.letters {
		if len(out) == most {
			break
		}
		if !l.Skipped && l.tried.Before(before) {
			l.tried = time.Now()
			p.letters[s] = l
			out = append(out, l.letter)
		}
	}
	return out
}

// put makes a letter durable in its slot.
func (p *parked) put(ctx context.Context, l letter, tried time.Time) error {
	s := p.slot(l.Tenant, l.Key, l.Revision)
	body, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode a dead letter: %w", err)
	}
	seq, err := p.bucket.Put(ctx, s.name(p.sink), p.letters[s].seq, body)
	if err != nil {
		return fmt.Errorf("park %s of %s: %w", l.Key, l.Tenant, err)
	}
	p.letters[s] = parkedLetter{storedLetter{l, seq}, tried}
	return nil
}

// remove takes the slot's letter away, if there is one.
func (p *parked) remove(ctx context.Context, s slot) error {
	l, ok := p.letters[s]
	if !ok {
		return nil
	}
	if err := p.bucket.Remove(ctx, l.seq); err != nil {
		return fmt.Errorf("unpark %s of %s: %w", l.Key, l.Tenant, err)
	}
	delete(p.letters, s)
	return nil
}

// of returns the tenant's letters, or all for "", or the letters of one key, in order.
func (p *parked) of(t ledger.Tenant, key ledger.Key) []letter {
	var out []letter
	for _, l := range p.letters {
		if (t == "" || l.Tenant == t) && (key == "" || l.Key == key) {
			out = append(out, l.letter)
		}
	}
	sortLetters(out)
	return out
}

// waiting counts the letters that were not given up.
func waiting(letters []letter) (n uint32) {
	for _, l := range letters {
		if !l.Skipped {
			n++
		}
	}
	return n
}

func sortLetters(letters []letter) {
	slices.SortFunc(letters, func(a, b letter) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Key, b.Key), cmp.Compare(a.Revision, b.Revision))
	})
}
