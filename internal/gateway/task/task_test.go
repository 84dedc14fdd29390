package task_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/stelehq/stele/internal/gateway/task"
)

func TestGo_PanicIsTheError(t *testing.T) {
	var running sync.WaitGroup
	done := task.Go(&running, func() error { panic(context.Canceled) })
	running.Wait()
	err := <-done
	if bug := new(task.PanicError); !errors.As(err, &bug) || bug.Value != context.Canceled || !strings.Contains(err.Error(), "task_test.go") {
		t.Errorf("%v", err)
	}
	if errors.Is(err, context.Canceled) {
		t.Error("the panic looks like a call that was canceled")
	}
}

func TestGroup_PanicCancelsTheOthers(t *testing.T) {
	group, ctx := task.WithContext(t.Context())
	group.Go(func() error {
		<-ctx.Done()
		return nil
	})
	group.Go(func() error { panic("one") })
	if bug := new(task.PanicError); !errors.As(group.Wait(), &bug) || bug.Value != "one" {
		t.Errorf("%v", bug)
	}
}
