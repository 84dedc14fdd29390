package node_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/internal/ledger"
)

// A node waits for a journal that does not answer in time, and says so, but not for what does
// not get better.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		tries := 0
		err := node.Retry(t.Context(), log, "the journal", func(context.Context) error {
			if tries++; tries < 3 {
				return fmt.Errorf("%w: no answer", ledger.ErrUnavailable)
			}
			time.Sleep(4 * time.Second)
			return nil
		})
		synctest.Wait()
		if err != nil || tries != 3 {
			t.Errorf("%d tries: %v", tries, err)
		}
		for text, n := range map[string]int{"cannot reach the journal; trying again": 2, "waiting for the journal": 1} {
			if strings.Count(out.String(), text) != n {
				t.Errorf("want %d of %q in\n%s", n, text, &out)
			}
		}
		broken := errors.New("another ledger's")
		if err := node.Retry(t.Context(), log, "the journal", func(context.Context) error { return broken }); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := node.Retry(ctx, log, "the journal", func(context.Context) error { return ledger.ErrUnavailable }); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}
