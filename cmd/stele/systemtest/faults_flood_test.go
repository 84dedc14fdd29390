//go:build faults

package systemtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/certs"
	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

const (
	flooder  ledger.Tenant = "flooder"
	neighbor ledger.Tenant = "neighbor"

	// floodLimits let through a hundredth of what the machine could do.
	floodLimits = `{"requests_per_second":200,"bytes_per_second":20000000,"change_sets_per_second":20,"watches":500}`
	// mostMemory is the memory limit of the process, in MiB. The pages of mapped files do not count.
	mostMemory = 512
)

// TestFloods_NeighborIsServed measures how long a tenant's reads take, alone and
// while each of the floods comes. A flood's client is a process of its own, that
// gets what the others leave of the processors: what it costs the gateway counts, not what it takes of the
// machine that both happen to be on.
func TestFloods_NeighborIsServed(t *testing.T) {
	rounds := number(t, "STELE_FAULTS_ROUNDS", 5)
	data := t.TempDir()
	g := startUp(t, data, filepath.Join(t.TempDir(), "config.yaml"), "--memory-limit", fmt.Sprintf("%dMiB", mostMemory))
	token := func(tenant ledger.Tenant) string { return writerToken(t, data, tenant) }
	write(t, g, ledger.System, fmt.Sprintf("policy/%s/limits", flooder), floodLimits)
	write(t, g, neighbor, "tenantconfig/checkout/timeout_ms", "3000")
	for i := range largeKeys {
		write(t, g, flooder, largeKey(i), `"`+strings.Repeat("x", largeValue)+`"`)
	}
	mine := token(neighbor)
	cc, err := conn.Dial(g.address(t), certs.Files{}, func() (string, error) { return mine, nil })
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	n := caller{t: t, config: stelev1.NewConfigClient(cc), peak: g.sampleMemory(t)}
	n.measure(time.Second) // warm

	for _, f := range floods {
		if only := os.Getenv("STELE_FAULTS_FLOOD"); only != "" && only != f.name {
			continue
		}
		// The machine may be busy with something else: what is too slow is measured again.
		ratio := n.under(f, rounds, g, token(flooder))
		if ratio > 2 {
			ratio = n.under(f, rounds, g, token(flooder))
		}
		if ratio > 2 {
			t.Errorf("%s: a neighbor's p99 is %.2f times what it is alone", f.name, ratio)
		}
	}
	if n.memory > mostMemory {
		t.Errorf("the process took %d MiB, more than %d", n.memory, mostMemory)
	}
}

func write(t *testing.T, g *gateway, tenant ledger.Tenant, key, value string) {
	t.Helper()
	if _, err := g.ledger.Commit(acting(t, tenant), &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: key, Value: value}}}); err != nil {
		t.Fatal(err)
	}
}

// status is a size in the process's /proc/PID/status, in MiB.
func (g *gateway) status(t *testing.T, name string) int {
	t.Helper()
	n, err := g.readStatus(name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (g *gateway) readStatus(name string) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	m := regexp.MustCompile(`(?m)^` + name + `:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil { // the process is gone
		return 0, fmt.Errorf("/proc/PID/status has no %s", name)
	}
	kB, err := strconv.Atoi(string(m[1]))
	return kB / 1024, err
}

// sampleMemory samples the process's memory until the test ends. It returns what gives the highest
// sample since the last call, in MiB. The pages of mapped files do not count, as VmHWM does.
func (g *gateway) sampleMemory(t *testing.T) (peak func() int) {
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	most := 0
	var sampling sync.WaitGroup
	sampling.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			if n, err := g.readStatus("RssAnon"); err == nil {
				mu.Lock()
				most = max(most, n)
				mu.Unlock()
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	t.Cleanup(func() { cancel(); sampling.Wait() })
	return func() (n int) {
		mu.Lock()
		defer mu.Unlock()
		n, most = most, 0
		return n
	}
}

// address is where the process says that it serves.
func (g *gateway) address(t *testing.T) string {
	return string(announced.FindSubmatch(g.printed(t))[1])
}

type quantiles struct{ p50, p99 time.Duration }

// median is the median of each quantile.
func median(of []quantiles) quantiles {
	middle := func(pick func(quantiles) time.Duration) time.Duration {
		var all []time.Duration
		for _, q := range of {
			all = append(all, pick(q))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	return quantiles{middle(func(q quantiles) time.Duration { return q.p50 }), middle(func(q quantiles) time.Duration { return q.p99 })}
}

// caller is the other tenant.
type caller struct {
	t      *testing.T
	config stelev1.ConfigClient
	peak   func() int // of the process's memory, of sampleMemory
	memory int        // the highest peak in a flood
}

// under returns how many times longer reads take under the flood, of a hundred the
// slowest; by the medians of some rounds.
func (r *caller) under(f flooding, rounds int, g *gateway, token string) float64 {
	var alone, flooded []quantiles
	memory, report := 0, ""
	for range rounds {
		alone = append(alone, r.measure(1500*time.Millisecond))
		r.peak() // before the flood
		p := startFlood(r.t, g, f.name, token)
		flooded = append(flooded, r.measure(2*time.Second))
		report = p.end(r.t)
		memory = max(memory, r.peak())
	}
	before, during := median(alone), median(flooded)
	r.memory = max(r.memory, memory)
	ratio := float64(during.p99) / float64(before.p99)
	fmt.Printf("%-12s p99 of a neighbor's Get %s, alone %s: %.2f times; p50 %s, alone %s; peak of the process %d MiB (%s)\n", f.name,
		during.p99.Round(10*time.Microsecond), before.p99.Round(10*time.Microsecond), ratio,
		during.p50.Round(10*time.Microsecond), before.p50.Round(10*time.Microsecond), memory, report)
	return ratio
}

// measure makes calls for a while, eight at a time with pauses. Each must succeed.
func (r *caller) measure(how time.Duration) quantiles {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), how)
	defer cancel()
	var mu sync.Mutex
	var took []time.Duration
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for ctx.Err() == nil {
				begun := time.Now()
				_, err := r.config.Get(r.t.Context(), &stelev1.GetRequest{Key: "tenantconfig/checkout/timeout_ms"})
				mu.Lock()
				took = append(took, time.Since(begun))
				mu.Unlock()
				if err != nil {
					r.t.Errorf("the neighbor's Get: %v", err)
					return
				}
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	callers.Wait()
	slices.Sort(took)
	return quantiles{took[len(took)/2], took[len(took)*99/100]}
}

// flood is a client's process.
type flood struct{ *process }

// startFlood returns when the flood comes.
func startFlood(t *testing.T, g *gateway, name, token string) flood {
	t.Helper()
	env := append(os.Environ(), floodEnv+"="+name, floodEnv+"_ADDRESS="+g.address(t), floodEnv+"_TOKEN="+token)
	self, err := exec.LookPath(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	f := flood{launch(t, env, "chrt", "--idle", "0", self, "-test.run=^TestFlood$", "-test.count=1")}
	await(t, "the flood", func() bool { return floodReport.Match(f.printed(t)) })
	time.Sleep(time.Second) // until it has reached its full rate
	return f
}

var floodReport = regexp.MustCompile(`(?m)^report: (.*)$`)

// end stops the flood and returns what it has done.
func (f flood) end(t *testing.T) string {
	t.Helper()
	f.kill()
	report := floodReport.FindAllSubmatch(f.printed(t), -1)
	last := string(report[len(report)-1][1])
	if strings.HasPrefix(last, "0 ") {
		t.Errorf("the flood did nothing:\n%s", f.tail(t))
	}
	return last
}
