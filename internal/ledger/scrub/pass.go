package scrub

import (
	"context"
	"errors"
	"time"

	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/proof"
)

const (
	// rate is how many bytes a pass reads per second, so that other readers of the disk
	// hardly notice.
	rate = 8 << 20
	// paceBytes is how much is read without a pause.
	paceBytes = 256 << 10
)

// pass is one reading of one copy.
type pass struct {
	tree Tree

	messages, lost uint64
	findings       []string
	// next is the leaf that the next message begins with; unknown after a message that
	// could not be read.
	next    int64
	unknown bool

	read  int // since paced
	paced time.Time
}

// message compares one message.
func (p *pass) message(ctx context.Context, m journal.Message) error {
	p.messages++
	from, to, err := p.tree.Leaves(m)
	switch {
	case errors.Is(err, proof.ErrDiffers):
		p.damaged(journal.Damaged(m.Sequence, "differs from the tree: "+err.Error()))
	case err != nil:
		return err
	case from != p.next && !p.unknown:
		p.damaged(journal.Damaged(m.Sequence, "stands elsewhere in the tree"))
		p.next, p.unknown = to, false
	default:
		p.next, p.unknown = to, false
	}
	return p.pace(ctx, len(m.Record))
}

// damaged notes a finding.
func (p *pass) damaged(d journal.Damage) {
	p.unknown = true
	p.lost += uint64(max(d.First, d.Last) - d.First + 1)
	if len(p.findings) < maxFindings {
		p.findings = append(p.findings, d.String())
	}
}

// pace waits so that the rate is kept.
func (p *pass) pace(ctx context.Context, read int) error {
	if p.read += read; p.read < paceBytes {
		return ctx.Err()
	}
	wait := time.Duration(p.read)*time.Second/rate - time.Since(p.paced)
	if wait > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p.read, p.paced = 0, time.Now()
	return nil
}
