package peer

import (
	"context"
	"errors"
	"fmt"
	"sync"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func (c *steleClient) SharesStreams() bool { return true }

func (c *steleClient) Watch(ctx context.Context, tenant, key string, watches, streams int, got func(string)) (func() error, error) {
	ctx, cancel := context.WithCancel(ctx)
	var (
		lost  = make(chan error, streams)
		group sync.WaitGroup
	)
	stop := func() error {
		cancel()
		group.Wait()
		close(lost)
		var errs []error
		for err := range lost {
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
	for i := range streams {
		share := watches / streams
		if i < watches%streams {
			share++
		}
		s, err := c.openWatches(ctx, tenant, key, share)
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		group.Go(func() {
			if err := follow(s, got); ctx.Err() == nil {
				lost <- err
			}
		})
	}
	return stop, nil
}

// openWatches opens one stream with n watches of the key.
func (c *steleClient) openWatches(ctx context.Context, tenant, key string, n int) (stelev1.Config_WatchClient, error) {
	s, err := c.config().Watch(ctx, c.as(tenant))
	if err != nil {
		return nil, err
	}
	for id := range n {
		create := &stelev1.CreateWatch{Id: uint64(id + 1), Keys: []string{key}}
		if err := s.Send(&stelev1.WatchRequest{Request: &stelev1.WatchRequest_Create{Create: create}}); err != nil {
			return nil, err
		}
	}
	for created := 0; created < n; {
		r, err := s.Recv()
		if err != nil {
			return nil, err
		}
		switch ev := r.Event.(type) {
		case *stelev1.WatchResponse_Created:
			created += len(r.Ids)
		case *stelev1.WatchResponse_Canceled:
			return nil, fmt.Errorf("stele: a watch was canceled: %s", ev.Canceled.Status.GetMessage())
		}
	}
	return s, nil
}

// follow calls got for every watch and value until the stream or a watch ends.
func follow(s stelev1.Config_WatchClient, got func(string)) error {
	for {
		r, err := s.Recv()
		if err != nil {
			return err
		}
		switch ev := r.Event.(type) {
		case *stelev1.WatchResponse_Commit:
			for range r.Ids {
				for _, ch := range ev.Commit.Changes {
					got(ch.Value)
				}
			}
		case *stelev1.WatchResponse_Canceled:
			return fmt.Errorf("stele: a watch was canceled: %s", ev.Canceled.Status.GetMessage())
		}
	}
}
