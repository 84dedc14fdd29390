package boltfile

import (
	"context"
	"time"

	"github.com/stelehq/stele/ledger"
)

// End asks where the journal ends, every so often, until that is at least what was
// seen. An end before that is returned when the journal has gone on saying so for
// as long as patience. The error is that of ctx.
func End(ctx context.Context, seen ledger.Sequence, every, patience time.Duration, ask func() (ledger.Sequence, error)) (ledger.Sequence, error) {
	var short time.Time // since when the journal has been saying that it is
	for {
		last, err := ask()
		switch {
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case err != nil: // no answer is no contradiction
			short = time.Time{}
		case last >= seen:
			return last, nil
		case short.IsZero():
			short = time.Now()
		case time.Since(short) >= patience:
			return last, nil
		}
		select {
		case <-time.After(min(every, patience)):
		case <-ctx.Done():
		}
	}
}
