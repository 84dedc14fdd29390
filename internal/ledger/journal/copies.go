package journal

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
)

// Copy is one server's copy of the ledger.
type Copy interface {
	// Server is the name of the server that has it; empty if it is the embedded one.
	Server() string
	// Read passes every message of the journal up to the one at to, in order, to the
	// callback, and what cannot be read to damaged. It fails if it could not find out.
	Read(ctx context.Context, to ledger.Sequence, handle func(Message) error, damaged func(Damage)) error
}

// Damage is what a copy lacks: messages of a stream, as far as they are known.
type Damage struct {
	Stream string
	// First and Last are 0 if it is not known which messages they are.
	First, Last ledger.Sequence
	// What happened to them.
	What string
}

// Damaged is a message of the journal that can be read, and is not what was written.
func Damaged(seq ledger.Sequence, what string) Damage {
	return Damage{Stream: streamName, First: seq, Last: seq, What: what}
}

func (d Damage) String() string {
	if d.First == 0 {
		return d.Stream + ": " + d.What
	}
	return fmt.Sprintf("%s: %s %s", d.Stream, sequences(d.First, max(d.First, d.Last)), d.What)
}

// Copies are the copies of the ledger: a replicated stream has one for each server.
func (j *Journal) Copies(ctx context.Context) ([]Copy, error) {
	if j.embedded != nil {
		return []Copy{diskCopy{j.embedded.cfg.Dir}}, nil
	}
	info, err := j.stream.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("servers that hold %s: %w: %w", streamName, ledger.ErrUnavailable, err)
	}
	if info.Cluster == nil || len(info.Cluster.Replicas) == 0 {
		return []Copy{&peerCopy{j: j, server: j.nc.ConnectedServerName()}}, nil
	}
	var copies []Copy
	if info.Cluster.Leader != "" {
		copies = append(copies, &peerCopy{j: j, server: info.Cluster.Leader, placed: true})
	}
	for _, r := range info.Cluster.Replicas {
		copies = append(copies, &peerCopy{j: j, server: r.Name, placed: true, offline: r.Offline})
	}
	slices.SortFunc(copies, func(a, b Copy) int { return strings.Compare(a.Server(), b.Server()) })
	return copies, nil
}
