package gateway_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/budget"
	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/gatewaytest"
	"github.com/stelehq/stele/internal/gateway/identity"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// startBudget is start with small shares.
func startBudget(t *testing.T, requests, answers int64, more ...func(*budget.Budget)) (*fixture, *budget.Budget) {
	b := &budget.Budget{Requests: budget.NewDivided("requests", requests), Bodies: budget.NewDivided("bodies", requests), Answers: budget.NewShare("answers", answers), Streams: 1000, Calls: 1000}
	for _, set := range more {
		set(b)
	}
	return start(t, func(cfg *gateway.Config) { cfg.Budget = b }), b
}

// noMemory reports whether an error has the reason NO_MEMORY.
func noMemory(err error) bool {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.Reason == "NO_MEMORY" {
			return status.Code(err) == codes.ResourceExhausted
		}
	}
	return false
}

func TestMemory_FullShareRefusesLargeRequestsAndAnswers(t *testing.T) {
	t.Parallel()
	f, b := startBudget(t, 48<<20, 32<<20)
	ctx := f.as(t, "acme", identity.Writer)
	large := `"` + strings.Repeat("x", 100_000) + `"`
	f.commit(t, ctx, set("large", large))
	gatewaytest.Exhaust(t, b.Requests)
	if _, err := f.ledger.Commit(ctx, set("large", large)); !noMemory(err) {
		t.Errorf("a large commit: %v", err)
	}
	if _, err := f.config.Get(ctx, &stelev1.GetRequest{Key: "large"}); !noMemory(err) {
		t.Errorf("a large answer: %v", err)
	}
	f.commit(t, ctx, set("small", "1"))
	if _, err := f.config.Get(ctx, &stelev1.GetRequest{Key: "small"}); err != nil {
		t.Errorf("a small answer: %v", err)
	}
}

func TestMemory_FullShareCancelsWatchWithResumeRevision(t *testing.T) {
	t.Parallel()
	f, b := startBudget(t, 48<<20, 32<<20)
	ctx := f.as(t, "acme", identity.Writer)
	watch := f.watch(t, ctx, &stelev1.CreateWatch{Id: 1, Prefixes: []string{""}})
	expect(t, watch, "[1] created @0")
	if err := b.Answers.Acquire(t.Context(), b.Answers.Size()); err != nil {
		t.Fatal(err)
	}
	rev := f.commit(t, ctx, set("a", "1")).Revision
	got := recv(t, watch).GetCanceled()
	if codes.Code(got.GetStatus().GetCode()) != codes.ResourceExhausted || got.GetResumeRevision() != rev {
		t.Errorf("the watch got %v, want it to resume at %d", got, rev)
	}
}

// Watches that want only the newest state and never read hold no more than the share, and the
// connection that they are on is closed, so that one that reads gets its state.
func TestMemory_UnreadWatchesHoldAShare(t *testing.T) { // alone, because it measures the heap
	const unread, keys, answers = 40, 18, 3 << 20
	f, _ := startBudget(t, 48<<20, answers)
	ctx, cancel := context.WithTimeout(f.as(t, "acme", identity.Writer), time.Minute)
	defer cancel()
	newest := &stelev1.CreateWatch{Id: 1, Prefixes: []string{""}, NewestOnlyWhenSlow: true}
	for range unread {
		expect(t, f.watch(t, ctx, newest), "[1] created @0")
	}
	other := *f
	cc := (&gatewaytest.Gateway{Gateway: f.gateway}).Dial(t)
	other.config, other.ledger = stelev1.NewConfigClient(cc), stelev1.NewLedgerClient(cc)
	reader := other.watch(t, ctx, newest)
	expect(t, reader, "[1] created @0")

	before := heap()
	req := &stelev1.CommitRequest{}
	for i := range keys {
		req.Changes = append(req.Changes, &stelev1.Change{Key: fmt.Sprintf("k%02d", i), Value: `"` + strings.Repeat("x", 200_000) + `"`})
	}
	if _, err := other.ledger.Commit(ctx, req); err != nil {
		t.Fatal(err)
	}
	received := make(chan int, 1)
	go func() {
		n := 0
		for {
			resp, err := reader.Recv()
			if err != nil {
				t.Error(err)
				break
			}
			n += len(resp.GetState().GetEntries())
			if s := resp.GetState(); s != nil && !s.More {
				break
			}
		}
		received <- n
	}()
	// No signal says that the other watches have taken all that they would.
	for samples, done := 0, false; samples < 10 || !done; samples++ {
		select {
		case n := <-received:
			if done = true; n != keys {
				t.Errorf("the watch that reads got %d keys, want %d", n, keys)
			}
		case <-time.After(100 * time.Millisecond):
		}
		if used := heap() - before; used > 90<<20 {
			t.Fatalf("the watches hold %d MB", used>>20)
		}
	}
}

// heap is the memory that is in use, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
