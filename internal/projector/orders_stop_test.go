package projector

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	sinkstatev1 "github.com/stelehq/stele/internal/projector/sinkstate/v1"
	"google.golang.org/protobuf/proto"
)

// TestServeOrders_StopWaits stops serving while orders arrive: no goroutine answers one after
// that.
func TestServeOrders_StopWaits(t *testing.T) {
	server := ledgertest.Server(t)
	node := ledgertest.Start(t, server, ledgertest.Config{})
	client, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	r := &runner{target: &target{p: &Projector{cfg: Config{Conn: node.Conn}}, name: "store", log: slog.New(slog.DiscardHandler)}}
	order, err := proto.Marshal(&sinkstatev1.Order{Order: &sinkstatev1.Order_Drift{}})
	if err != nil {
		t.Fatal(err)
	}
	end := make(chan struct{})
	var sending sync.WaitGroup
	sending.Go(func() {
		for {
			select {
			case <-end:
				return
			default:
				for range 8 {
					if err := client.PublishRequest(orderSubject("store"), "nobody", order); err != nil {
						t.Error(err)
						return
					}
				}
				if err := client.Flush(); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	defer sending.Wait()
	defer close(end)
	stacks := make([]byte, 1<<20)
	for range 100 {
		stop, err := r.serveOrders(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := node.Conn.Flush(); err != nil {
			t.Fatal(err)
		}
		stop()
		if running := string(stacks[:runtime.Stack(stacks, true)]); strings.Contains(running, "(*runner).answer") || strings.Contains(running, "serveOrders") {
			t.Fatalf("an order is answered after the end:\n%s", running)
		}
	}
}

// An order that arrives while its sink changes hands is answered, because no other process has it.
func TestServeOrders_AnswersWhatHasArrived(t *testing.T) {
	node := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	r := &runner{target: &target{p: &Projector{cfg: Config{Conn: node.Conn}}, name: "store", log: slog.New(slog.DiscardHandler)}}
	ctx, cancel := context.WithCancel(t.Context())
	stop, err := r.serveOrders(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	cancel() // the lease is lost, and work has not returned yet
	c := &Control{Conn: node.Conn}
	reply, err := c.Ask(t.Context(), "store", &sinkstatev1.Order{Order: &sinkstatev1.Order_Retry{}})
	if err != nil || reply.Error != errNotHeld.Error() {
		t.Errorf("%v, %v; want %v", reply, err, errNotHeld)
	}
}

// TestAsk_OwnerIsSilent asks owners that never answer, as one that has died, and that answer
// late, but say that they are at work.
func TestAsk_OwnerIsSilent(t *testing.T) {
	t.Parallel()
	node := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	r := &runner{target: &target{log: slog.New(slog.DiscardHandler)}}
	late := func(m *nats.Msg) {
		done := r.sayWorking(m)
		time.Sleep(silence + beat)
		done()
		r.respond(m, &sinkstatev1.Reply{Error: "late"})
	}
	for sink, owner := range map[string]nats.MsgHandler{"dead": func(*nats.Msg) {}, "slow": late} {
		sub, err := node.Conn.Subscribe(orderSubject(sink), owner)
		if err != nil {
			t.Fatal(err)
		}
		defer sub.Unsubscribe()
	}
	c := &Control{Conn: node.Conn}
	if reply, err := c.Ask(t.Context(), "slow", &sinkstatev1.Order{}); err != nil || reply.Error != "late" {
		t.Errorf("of one that answers late: %v, %v", reply, err)
	}
	if reply, err := c.Ask(t.Context(), "dead", &sinkstatev1.Order{}); !errors.Is(err, ledger.ErrUnavailable) || !strings.Contains(err.Error(), "has sent nothing for 10s") {
		t.Errorf("of one that has died: %v, %v", reply, err)
	}
	if reply, err := c.Ask(t.Context(), "nobody", &sinkstatev1.Order{}); !errors.Is(err, ledger.ErrUnavailable) || !strings.Contains(err.Error(), "no process writes to sink nobody") {
		t.Errorf("without an owner: %v, %v", reply, err)
	}
}
