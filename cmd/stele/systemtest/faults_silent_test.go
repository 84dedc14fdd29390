//go:build faults

package systemtest

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// TestSilentServer stops each of three NATS servers in turn with SIGSTOP: one leads the
// journal's stream, and one has the ledger's connection.
func TestSilentServer(t *testing.T) {
	const bound = 15 * time.Second
	nodes := startCluster(t, 3)
	m := nodes.join(t, "ledger,gateway")
	ctx := acting(t, acme)
	patient(t, ctx, m.ledger.Commit, settingOf(`"begin"`))
	var took []time.Duration
	for i := range len(nodes.servers) + 1 {
		var s *natsServer
		if i < len(nodes.servers) {
			s = nodes.servers[i]
		} else {
			s = nodes.leader(t)
		}
		if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		patient(t, ctx, m.ledger.Commit, settingOf(fmt.Sprint(i)))
		took = append(took, time.Since(began).Round(10*time.Millisecond))
		if err := s.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		nodes.start(t)
		if took[i] > bound {
			t.Errorf("with %s stopped the first write took %s, more than %s", s.name, took[i], bound)
		}
	}
	fmt.Printf("SIGSTOP of one of 3 nats-servers, each in turn and then the leader: the first write took %v\n", took)
}
