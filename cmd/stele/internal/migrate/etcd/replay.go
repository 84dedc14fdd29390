package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/migrate"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// errStopped ends the iteration when the caller stops it.
var errStopped = errors.New("stopped")

// replay goes through the history once.
type replay struct {
	*Source
	yield func(migrate.Step, error) bool
	// keys are those that are set, with the revision that last set each.
	keys map[string]int64
	// step is the revision that is being put together.
	step migrate.Step
}

// page is how many keys are requested at a time; keys of the largest size make a few
// hundred megabytes.
const page = 256

// pages calls f for every key at a revision.
func (r *replay) pages(ctx context.Context, revision int64, f func(*mvccpb.KeyValue), options ...clientv3.OpOption) error {
	from, end := r.first(), clientv3.GetPrefixRangeEnd(r.root)
	if r.root == "" {
		end = "\x00"
	}
	for {
		resp, err := r.client.Get(ctx, from, append(options, clientv3.WithRange(end), clientv3.WithRev(revision), clientv3.WithLimit(page))...)
		if errors.Is(err, rpctypes.ErrCompacted) {
			err = fmt.Errorf("it was compacted meanwhile: import again: %w", err)
		}
		if err != nil {
			return fmt.Errorf("state at revision %d: %w", revision, err)
		}
		for _, kv := range resp.Kvs {
			f(kv)
		}
		if !resp.More || len(resp.Kvs) == 0 {
			return nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

// state yields what was compacted.
func (r *replay) state(ctx context.Context) error {
	if r.base == 0 {
		return nil
	}
	r.begin(r.base)
	r.step.State = true
	err := r.pages(ctx, r.base, func(kv *mvccpb.KeyValue) {
		r.keys[string(kv.Key)] = kv.ModRevision
		r.step.Items = append(r.step.Items, migrate.Item{Name: string(kv.Key), Value: string(kv.Value)})
	})
	if err != nil {
		return err
	}
	return r.finish()
}

func (r *replay) begin(revision int64) {
	r.step = migrate.Step{ID: fmt.Sprintf("revision %d", revision), Number: uint64(revision)}
}

func (r *replay) finish() error {
	step := r.step
	if r.step = (migrate.Step{}); step.ID != "" && !r.yield(step, nil) {
		return errStopped
	}
	return nil
}

// askAgain is how often a watch is asked how far it is.
const askAgain = 100 * time.Millisecond

// revisions yields each revision after the base, to the end.
func (r *replay) revisions(ctx context.Context) error {
	if r.base >= r.end {
		return nil
	}
	watch := r.client.Watch(ctx, r.first(), r.all(clientv3.WithRev(r.base+1))...)
	ask := time.NewTicker(askAgain)
	defer ask.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ask.C:
			if err := r.client.RequestProgress(ctx); err != nil {
				return err
			}
		case resp, ok := <-watch:
			if err := resp.Err(); err != nil {
				return err
			}
			if !ok {
				return fmt.Errorf("the watch ended: %w", ctx.Err())
			}
			ended, err := r.events(resp.Events)
			if err != nil {
				return err
			}
			if ended || resp.IsProgressNotify() && resp.Header.Revision >= r.end {
				return r.finish()
			}
		}
	}
}

// events takes the events of one response, and reports whether the history ends in it.
func (r *replay) events(all []*clientv3.Event) (ended bool, err error) {
	for _, e := range all {
		switch rev := e.GetKv().GetModRevision(); {
		case rev > r.end:
			return true, nil
		case rev <= r.base || rev < int64(r.step.Number):
			return false, fmt.Errorf("etcd sent a change of revision %d after revision %d", rev, max(r.base, int64(r.step.Number)))
		}
		if err := r.event(e); err != nil {
			return false, err
		}
	}
	return false, nil
}

func (r *replay) event(e *clientv3.Event) error {
	if r.step.Number != uint64(e.Kv.ModRevision) {
		if err := r.finish(); err != nil {
			return err
		}
		r.begin(e.Kv.ModRevision)
	}
	name := string(e.Kv.Key)
	item := migrate.Item{Name: name, Value: string(e.Kv.Value), Delete: e.Type == clientv3.EventTypeDelete}
	if r.keys[name] = e.Kv.ModRevision; item.Delete {
		delete(r.keys, name)
	}
	r.step.Items = append(r.step.Items, item)
	return nil
}

// compare holds the keys that the history leaves to those that the cluster has.
func (r *replay) compare(ctx context.Context) error {
	differ := 0
	err := r.pages(ctx, r.end, func(kv *mvccpb.KeyValue) {
		if r.keys[string(kv.Key)] != kv.ModRevision {
			differ++
		}
		delete(r.keys, string(kv.Key))
	}, clientv3.WithKeysOnly())
	if differ += len(r.keys); err == nil && differ > 0 {
		err = fmt.Errorf("incomplete history up to revision %d: %d keys differ from etcd's current state; run the import again", r.end, differ)
	}
	return err
}
