// Package task runs the goroutines of calls and pages. A panic in one of them is an error of its
// call. It does not end the process, and with it all other calls.
package task

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"

	"golang.org/x/sync/errgroup"
)

// PanicError is a panic in a call. Its text is for the log, and not for the caller.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.Value, e.Stack) }

// Catch sets the error to a PanicError if the function that defers it panics.
func Catch(err *error) {
	if p := recover(); p != nil {
		*err = &PanicError{Value: p, Stack: debug.Stack()}
	}
}

// Run runs f in this goroutine.
func Run(f func() error) (err error) {
	defer Catch(&err)
	return f()
}

// Go runs f in a goroutine of running. The channel gets its error when it ends.
func Go(running *sync.WaitGroup, f func() error) <-chan error {
	done := make(chan error, 1)
	running.Go(func() { done <- Run(f) })
	return done
}

// Group runs functions concurrently.
type Group struct{ *errgroup.Group }

// WithContext returns a group, and a context that ends with the first error or panic in it, or
// when Wait returns.
func WithContext(ctx context.Context) (Group, context.Context) {
	group, ctx := errgroup.WithContext(ctx)
	return Group{group}, ctx
}

// Go runs f in a goroutine of the group.
func (g Group) Go(f func() error) { g.Group.Go(func() error { return Run(f) }) }
