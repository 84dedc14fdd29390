package projector

import (
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"

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
