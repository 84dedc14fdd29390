package bridge

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stelehq/stele/schemas/events"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/sync/errgroup"
)

const (
	// parallel is the most calls at a time.
	parallel = 32
	// callTimeout is how long a call may take.
	callTimeout = 10 * time.Second
)

// call notifies one instance of a service.
type call struct {
	name string
	do   func(context.Context) error
}

// notify notifies every service that is configured for the key. A failure does not
// prevent the others.
func (b *Bridge) notify(ctx context.Context, detail []byte) error {
	e, err := events.ParseConfigurationChanged(detail)
	if err != nil {
		return err
	}
	commit, err := hex.DecodeString(e.CommitID)
	if err != nil {
		return fmt.Errorf("read the detail of %q: commit_id: %w", events.ConfigurationChangedType, err)
	}
	request := &stelev1.RefreshRequest{Tenant: e.Tenant, Changes: []*stelev1.KeyChange{{
		Key:      e.Key,
		Revision: e.Revision,
		Deleted:  e.Operation == events.Delete,
		CommitId: commit,
	}}}

	var calls []call
	var failed []error
	notified := make(map[string]bool) // a service may ask for a prefix and a longer one
	for _, t := range b.targets {
		if name := t.url.String(); strings.HasPrefix(e.Key, t.prefix) && !notified[name] {
			notified[name] = true
			if t.url.Scheme != "grpc" {
				calls = append(calls, b.webhook(name, detail))
				continue
			}
			instances, err := b.instances(ctx, t.url, request)
			if err != nil {
				failed = append(failed, fmt.Errorf("notify %s: %w", name, err))
			}
			calls = append(calls, instances...)
		}
	}
	failed = append(failed, callAll(ctx, calls)...)
	b.log.Info("notified services of a change", "tenant", e.Tenant, "key", e.Key, "revision", e.Revision, "called", len(calls), "failed", len(failed))
	return errors.Join(failed...)
}

func callAll(ctx context.Context, calls []call) []error {
	results := make([]error, len(calls))
	var group errgroup.Group
	group.SetLimit(parallel)
	for i, c := range calls {
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, callTimeout)
			defer cancel()
			if err := c.do(ctx); err != nil {
				results[i] = fmt.Errorf("notify %s: %w", c.name, err)
			}
			return nil
		})
	}
	group.Wait()
	failed := results[:0]
	for _, err := range results {
		if err != nil {
			failed = append(failed, err)
		}
	}
	return failed
}
