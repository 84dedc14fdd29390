package node

import (
	"context"
	"log/slog"
	"time"
)

const (
	// attachTimeout bounds one try to reach the journal, and retryAfter is the pause before the
	// next.
	attachTimeout = 10 * time.Second
	retryAfter    = time.Second
	// slowAttach is how long a try may take until that is logged.
	slowAttach = 3 * time.Second
)

// retry tries until it succeeds, ctx ends, or an error would not get better by waiting. The thing that it
// waits for is logged after a few seconds, and after every try that failed.
func retry(ctx context.Context, log *slog.Logger, what string, try func(context.Context) error) error {
	begun := time.Now()
	for {
		slow := time.AfterFunc(slowAttach, func() { log.Warn("waiting for "+what, "for", time.Since(begun).Round(time.Second)) })
		err := func() error {
			defer slow.Stop()
			return try(ctx)
		}()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !temporary(err) {
			return err
		}
		log.Warn("cannot reach "+what+"; trying again", "error", err)
		select {
		case <-time.After(retryAfter):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
