//go:build faults

package systemtest

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/sync/errgroup"
)

const acme ledger.Tenant = "acme"

func TestTwoLedgers_NeverForkOrLoseACommit(t *testing.T) {
	for _, size := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d nats-server", size), func(t *testing.T) {
			begun := time.Now()
			nodes := startCluster(t, size)
			c := &contest{each: number(t, "STELE_FAULTS_INCREMENTS", 250), acks: make(map[uint64]link)}
			members := []*member{nodes.join(t, "ledger,gateway,signer"), nodes.join(t, "ledger,gateway,signer")}
			for _, m := range members {
				c.gateways = append(c.gateways, m.gateway)
			}
			ctx, cancel := context.WithCancel(acting(t, acme))
			writing, ctx := errgroup.WithContext(ctx)
			defer writing.Wait()
			defer cancel()
			for w := range writers {
				writing.Go(func() error { return c.write(ctx, w) })
			}

			servers, steles := c.disturb(t, ctx, nodes, members)
			if err := writing.Wait(); err != nil {
				t.Fatal(err)
			}
			c.check(t)
			a := distruster{public: node.PublicKey(nodes.key)}
			for _, g := range c.gateways {
				a.visit(t, g, acme, uint64(len(c.acks)), c.acks[uint64(len(c.acks))].id)
			}
			signed := a.readAll(t, nodes, acme, c.acks)
			fmt.Printf("2 ledgers that sign, 1 tenant, %d nats-server: %d increments by %d writers acknowledged (%d conflicts, %d outcomes unknown at first), "+
				"kill -9 of %d nats-servers that led the tenant's stream and of %d ledgers on the way; the counters' sum is %[2]d, "+
				"both chains are the same %[2]d commits without a gap, a fork or a request id twice; %[8]d checkpoints stand in one line; %[9]s\n",
				size, c.done.Load(), writers, c.conflicts.Load(), c.unknown.Load(), servers, steles, signed, time.Since(begun).Round(time.Second))
		})
	}
}

// disturb kills, by turns, the server that leads the tenant's stream and one of the
// ledgers, spread over the whole contest, and starts each again once the others have
// continued without it. ctx ends when a writer fails.
func (c *contest) disturb(t *testing.T, ctx context.Context, nodes *cluster, members []*member) (servers, steles int) {
	const kills = 6
	total := int64(writers * c.each)
	for k := range kills {
		reach := func(n int64) {
			await(t, fmt.Sprintf("increment %d of %d", n, total), func() bool {
				if ctx.Err() != nil && c.done.Load() < total {
					t.Fatal(context.Cause(ctx))
				}
				return c.done.Load() >= n
			})
		}
		at := total * int64(k+1) / (kills + 1)
		reach(at)
		if k%2 == 0 {
			nodes.leader(t).kill()
			if len(nodes.servers) > 1 {
				reach(min(at+20, total))
			}
			nodes.start(t)
			servers++
			continue
		}
		n := k / 2 % len(members)
		members[n].kill()
		reach(min(at+20, total))
		members[n].start(t)
		c.replace(n, members[n].gateway)
		steles++
	}
	return servers, steles
}

// check walks the chain at every gateway and compares it with what was
// acknowledged.
func (c *contest) check(t *testing.T) {
	total := uint64(writers * c.each)
	if len(c.acks) != int(total) {
		t.Fatalf("%d revisions were acknowledged for %d increments", len(c.acks), total)
	}
	for n, g := range c.gateways {
		links := walk(t, g, acme, total)
		if uint64(len(links)) != total {
			t.Fatalf("gateway %d holds %d commits, %d were acknowledged", n, len(links), total)
		}
		seen := make(map[string]bool)
		for i, l := range links {
			revision := uint64(i + 1)
			if l != c.acks[revision] {
				t.Fatalf("gateway %d: @%d is %v, acknowledged was %v", n, revision, l, c.acks[revision])
			}
			if seen[l.requestID] {
				t.Fatalf("gateway %d: request %s is in the chain twice", n, l.requestID)
			}
			seen[l.requestID] = true
			checkCommit(t, g, acme, revision, l.id)
		}
		sum := 0
		for i := range counters {
			got := untilUp(t, acting(t, acme), g.config.Get, &stelev1.GetRequest{Key: fmt.Sprintf("counters/%d", i), MinRevision: total})
			value, err := strconv.Atoi(got.Entry.Value)
			if err != nil {
				t.Fatal(err)
			}
			sum += value
		}
		if uint64(sum) != total {
			t.Fatalf("gateway %d: the counters' sum is %d after %d acknowledged increments", n, sum, total)
		}
	}
}
