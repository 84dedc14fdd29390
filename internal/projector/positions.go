package projector

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"strconv"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	sinkstatev1 "github.com/stelehq/stele/internal/projector/sinkstate/v1"
	"google.golang.org/protobuf/proto"
)

// positions is the progress of a sink with each tenant, stored in a few entries of a
// bucket, each with the positions of some tenants, so that a change writes a part of
// them. An entry is written on the condition that no other process has written it, so a
// process whose lease was taken over cannot.
type positions struct {
	bucket  *journal.Bucket
	sink    string
	owner   string
	routing string
	restart bool // a change of the routing begins again: the sink is a store

	parts [positionParts]somePositions
}

// positionParts is the number of entries with positions. It is part of the format.
const positionParts = 8

// partOf is the entry that holds the tenant's position.
func partOf(t ledger.Tenant) int {
	h := fnv.New32a()
	io.WriteString(h, string(t))
	return int(h.Sum32() % positionParts)
}

type somePositions struct {
	seq   ledger.Sequence
	at    map[ledger.Tenant]position
	dirty bool
}

// position is how far a sink has come with one tenant. A revision alone does not identify the
// state: a ledger that was restored from a backup gives it to another commit.
type position struct {
	revision ledger.Revision
	id       [idBytes]byte // the beginning of the commit's id
}

const idBytes = 8

func positionOf(rev ledger.Revision, id ledger.CommitID) position {
	return position{rev, [idBytes]byte(id[:idBytes])}
}

func positionName(sink string, part int) string {
	return "position." + sink + "." + strconv.Itoa(part)
}

// readPositions reads the stored positions of a sink.
func readPositions(ctx context.Context, bucket *journal.Bucket, sink string, part int) (*sinkstatev1.Positions, ledger.Sequence, error) {
	entry, err := bucket.Get(ctx, positionName(sink, part))
	if err != nil {
		return nil, 0, err
	}
	kept := &sinkstatev1.Positions{}
	if err := proto.Unmarshal(entry.Body, kept); err != nil {
		return nil, 0, fmt.Errorf("decode the positions %s: %w", entry.Name, err)
	}
	return kept, entry.Sequence, nil
}

// load reads the positions, and saves them in the owner's name, so that the owner before
// can no longer. It reports whether the routing has changed since they were saved. If that
// restarts the sink, the same save clears the positions: a process that is killed after it
// leaves the new routing only together with cleared positions, and one that is killed
// between two parts leaves a part with the old routing, which clears them all again.
func (p *positions) load(ctx context.Context) (rerouted bool, err error) {
	for i := range p.parts {
		kept, seq, err := readPositions(ctx, p.bucket, p.sink, i)
		if err != nil {
			return false, err
		}
		s := somePositions{seq: seq, at: make(map[ledger.Tenant]position), dirty: seq > 0}
		for name, rev := range kept.Revisions {
			at := position{revision: ledger.Revision(rev)}
			copy(at.id[:], kept.Ids[name])
			s.at[ledger.Tenant(name)] = at
		}
		rerouted = rerouted || seq > 0 && kept.Routing != p.routing
		p.parts[i] = s
	}
	if rerouted && p.restart {
		for i := range p.parts {
			clear(p.parts[i].at)
		}
	}
	return rerouted, p.save(ctx)
}

func (p *positions) get(t ledger.Tenant) position {
	return p.parts[partOf(t)].at[t]
}

func (p *positions) set(t ledger.Tenant, at position) {
	s := &p.parts[partOf(t)]
	if s.at[t] != at {
		s.at[t], s.dirty = at, true
	}
}

// save makes changed positions durable.
func (p *positions) save(ctx context.Context) error {
	for i := range p.parts {
		s := &p.parts[i]
		if !s.dirty {
			continue
		}
		keep := &sinkstatev1.Positions{Owner: p.owner, Routing: p.routing, Revisions: make(map[string]uint64, len(s.at)), Ids: make(map[string][]byte, len(s.at))}
		for t, at := range s.at {
			keep.Revisions[string(t)], keep.Ids[string(t)] = uint64(at.revision), at.id[:]
		}
		body, err := proto.Marshal(keep)
		if err != nil {
			return fmt.Errorf("encode the positions of sink %s: %w", p.sink, err)
		}
		if s.seq, err = p.bucket.Put(ctx, positionName(p.sink, i), s.seq, body); err != nil {
			return fmt.Errorf("save the positions of sink %s: %w", p.sink, err)
		}
		s.dirty = false
	}
	return nil
}
