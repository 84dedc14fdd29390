package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/proto"
)

// Subject is where processes announce themselves.
const Subject = "stele.gateways.v1"

// Announcer announces a process, and hears of the others, until it is closed.
type Announcer struct {
	sub     *nats.Subscription
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// Announce sends what report returns every interval, and records what others send.
func Announce(conn *nats.Conn, r *Registry, report func() []*stelev1.GatewayStatus, log *slog.Logger) (*Announcer, error) {
	ctx, cancel := context.WithCancel(context.Background())
	a := &Announcer{cancel: cancel}
	var err error
	a.sub, err = conn.Subscribe(Subject, func(m *nats.Msg) {
		g := &stelev1.GatewayStatus{}
		if err := proto.Unmarshal(m.Data, g); err != nil {
			log.Warn("cannot decode the announcement of a gateway", "error", err)
			return
		}
		r.FromPeer(time.Now(), g)
	})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("listen to announcements of gateways: %w", err)
	}
	a.running.Go(func() {
		tick := time.NewTicker(Interval)
		defer tick.Stop()
		for {
			for _, g := range report() {
				body, err := proto.Marshal(g)
				if err == nil {
					err = conn.Publish(Subject, body)
				}
				if err != nil {
					log.Warn("cannot announce a gateway", "address", g.Address, "error", err)
				}
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return a, nil
}

// Close ends the announcements, and waits.
func (a *Announcer) Close() {
	a.cancel()
	a.running.Wait()
	_ = a.sub.Unsubscribe() // fails only when the connection is closed
}
