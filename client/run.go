package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// run follows one gateway after the other until ctx ends.
func (c *Client) run(ctx context.Context) {
	g := newGateways(c.cfg.Addresses)
	refused := make(map[string]error)
	failed := 0
	for {
		address := g.next(time.Now())
		f := &follower{client: c, address: address, better: func() bool { return g.better(address, time.Now()) }}
		err := f.follow(ctx)
		if ctx.Err() != nil {
			c.note(func(k *knowledge) { k.gateway, k.err = "", errors.New("the client is closed") })
			return
		}
		if f.arrived {
			failed = 0
			clear(refused)
		}
		g.leave(address, time.Now())
		err = fmt.Errorf("gateway %s: %w", address, plain{err})
		c.note(func(k *knowledge) { k.gateway, k.err = "", err })
		if delete(refused, address); final(err) {
			if refused[address] = err; len(refused) == len(c.cfg.Addresses) {
				select {
				case c.refused <- err:
				default:
				}
			}
		}
		wait := pause(failed) + limitDelay(err)
		if failed++; failed == 1 {
			c.cfg.Log.Warn("the settings are not followed", "error", err, "again in", wait)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// final reports whether asking the same gateway again would not help.
func final(err error) bool {
	if historyChanged(err) {
		return false // it is loaded again if no other gateway knows better
	}
	switch status.Code(err) {
	case codes.PermissionDenied, codes.Unauthenticated, codes.InvalidArgument, codes.FailedPrecondition, codes.Unimplemented:
		return true
	}
	return errors.Is(err, errForeign)
}

// limitDelay is how long to wait if the tenant is over a limit, which applies at other
// gateways as well.
func limitDelay(err error) time.Duration {
	if status.Code(err) != codes.ResourceExhausted {
		return 0
	}
	d, _ := detail[*errdetails.RetryInfo](err)
	return d.GetRetryDelay().AsDuration()
}

// detail finds a detail of a gateway's answer.
func detail[T any](err error) (found T, ok bool) {
	for _, d := range status.Convert(err).Details() {
		if found, ok = d.(T); ok {
			return found, true
		}
	}
	return found, false
}
