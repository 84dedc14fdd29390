package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/readlog"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/proto"
)

const readStream = "STELE-READS"

// boundReads is a digest of recorded reads, and the revision of the ledger's own tenant
// that states it.
type boundReads struct {
	readlog.Digest
	by ledger.Revision
}

// readsBound notes the digest of recorded reads that a commit of the ledger's own tenant
// states, if it states one.
func (w *walk) readsBound(encoded []byte) error {
	c, err := ledger.DecodeCommit(encoded)
	if err != nil {
		return err
	}
	for _, ch := range c.Changes {
		if ch.Key != ledger.ReadsDigest || ch.Delete {
			continue
		}
		d, err := readlog.ParseDigest(ch.Value)
		if err != nil {
			return fmt.Errorf("%s: %w", ledger.ReadsDigest, err)
		}
		w.bound = append(w.bound, boundReads{d, c.Revision})
	}
	return nil
}

// readReads compares the recorded reads with the digests in the history. The records
// after the newest digest are not covered, but none may be missing between others.
func (v *verifier) readReads(ctx context.Context, bound []boundReads) error {
	slices.SortStableFunc(bound, func(a, b boundReads) int { return cmp.Compare(a.Count, b.Count) })
	var d readlog.Digest
	at, altered := 0, false // the next digest to compare with, and whether one was wrong
	compare := func() {
		for ; at < len(bound) && bound[at].Count == d.Count && !altered; at++ {
			if altered = bound[at].Digest != d; altered {
				v.report.find(readStream, "records %d to %d are not those that %s%s binds: one was changed, removed, inserted or moved, or the stream was created again",
					v.report.ReadsBound+1, d.Count, ledger.System, bound[at].by)
				return
			}
			v.report.ReadsBound = int(d.Count)
		}
	}
	compare()
	_, err := v.evidence.AuxStream(ctx, journal.Reads, func(name string, seq ledger.Sequence, body []byte) error {
		v.report.Reads++
		var r stelev1.ReadRecord
		if err := proto.Unmarshal(body, &r); err != nil || r.Tenant != name {
			v.report.find(fmt.Sprintf("%s, message %d", readStream, seq), "it is not a record of a read of %s", name)
		}
		d.Add(body)
		compare()
		return nil
	})
	var broken *journal.EvidenceError
	if errors.As(err, &broken) && broken.Missing {
		err = nil // a new ledger does not have the stream yet; of an older one, the digests show that reads were recorded
	}
	if err != nil {
		return v.evident(err)
	}
	if n := len(bound); n > 0 && bound[n-1].Count > d.Count {
		newest := bound[n-1]
		v.report.find(readStream, "records %d to %d are missing: it has %d, and %s%s binds %d", d.Count+1, newest.Count, d.Count, ledger.System, newest.by, newest.Count)
	}
	return nil
}
