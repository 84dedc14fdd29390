//go:build faults && linux

package systemtest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

// lab is a network inside this machine: hosts, each a network namespace of its own, that a
// bridge joins. Traffic from one host to another can be dropped without a word.
type lab struct {
	t     *testing.T
	hub   string // the namespace of the bridge
	hosts []*host
}

// host is one address in the lab.
type host struct {
	lab       *lab
	namespace string
	address   string
}

// newLab makes a lab, or skips the test on a machine that does not allow it.
func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, hub: fmt.Sprintf("stele-%d", os.Getpid())}
	if err := ip("netns", "add", l.hub); err != nil {
		t.Skipf("no network namespaces here: %v", err)
	}
	t.Cleanup(func() { ip("netns", "del", l.hub) })
	l.must("-n", l.hub, "link", "add", "bridge", "type", "bridge")
	l.must("-n", l.hub, "link", "set", "bridge", "up")
	return l
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (l *lab) must(args ...string) {
	l.t.Helper()
	if err := ip(args...); err != nil {
		l.t.Fatal(err)
	}
}

// host adds one.
func (l *lab) host() *host {
	l.t.Helper()
	n := len(l.hosts) + 1
	h := &host{lab: l, namespace: fmt.Sprintf("%s-%d", l.hub, n), address: fmt.Sprintf("10.77.0.%d", n)}
	l.must("netns", "add", h.namespace)
	l.t.Cleanup(func() { ip("netns", "del", h.namespace) })
	port := fmt.Sprint("port", n)
	l.must("-n", l.hub, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", h.namespace)
	l.must("-n", l.hub, "link", "set", port, "master", "bridge", "up")
	l.must("-n", h.namespace, "addr", "add", h.address+"/24", "dev", "eth0")
	l.must("-n", h.namespace, "link", "set", "eth0", "up")
	l.must("-n", h.namespace, "link", "set", "lo", "up")
	l.hosts = append(l.hosts, h)
	return h
}

// nowhere is a hardware address that no host has.
const nowhere = "02:00:00:00:00:99"

// cut drops everything that goes from one host to another, in that direction only: the frames
// go to a hardware address that no host has.
func (l *lab) cut(from, to *host) {
	l.t.Helper()
	l.must("-n", from.namespace, "neigh", "replace", to.address, "lladdr", nowhere, "nud", "permanent", "dev", "eth0")
}

// heal ends all cuts.
func (l *lab) heal() {
	l.t.Helper()
	for _, h := range l.hosts {
		l.must("-n", h.namespace, "neigh", "flush", "nud", "permanent", "dev", "eth0")
	}
}

// run is the command line that runs a program on the host.
func (h *host) run(program string, args []string) (string, []string) {
	if h == nil {
		return program, args
	}
	return "ip", append([]string{"netns", "exec", h.namespace, program}, args...)
}

// dial connects from the host. A socket belongs to the namespace of the thread that makes it.
func (h *host) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if h == nil {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	there, err := os.Open(filepath.Join("/run/netns", h.namespace))
	if err != nil {
		return nil, err
	}
	defer there.Close()
	runtime.LockOSThread()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	defer here.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if back := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); back != nil {
		return nil, back // the thread stays locked, so that nothing else runs on it
	}
	runtime.UnlockOSThread()
	return conn, err
}

// servingOn is serving for a process on a host.
func servingOn(t *testing.T, h *host, p *process, token func() (string, error)) *gateway {
	t.Helper()
	if h == nil {
		return serving(t, p, token)
	}
	cc, err := grpc.NewClient("passthrough:///"+p.serves(t),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithPerRPCCredentials(bearerOf(token)),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return h.dial(ctx, "tcp", address) }),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, MaxDelay: time.Second}}))
	if err != nil {
		t.Fatal(err)
	}
	return clientOf(t, p, cc)
}

// bearerOf puts the token on every call.
type bearerOf func() (string, error)

func (b bearerOf) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	token, err := b()
	return map[string]string{"authorization": "Bearer " + token}, err
}

func (b bearerOf) RequireTransportSecurity() bool { return false }

func TestLab_CutIsOneWay(t *testing.T) {
	l := newLab(t)
	a, b := l.host(), l.host()
	reach := func(from, to *host) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c, err := from.dial(ctx, "tcp", to.address+":1")
		if err == nil {
			c.Close()
		}
		return err
	}
	for _, step := range []struct {
		name string
		do   func()
		// reached: the host refuses the connection. Otherwise it never learns of it, or its
		// answer is lost.
		reached bool
	}{
		{"joined", func() {}, true},
		{"cut there", func() { l.cut(a, b) }, false},
		{"healed", l.heal, true},
		{"cut back", func() { l.cut(b, a) }, false},
		{"healed again", l.heal, true},
	} {
		step.do()
		err := reach(a, b)
		if refused := err != nil && strings.Contains(err.Error(), "refused"); refused != step.reached {
			t.Errorf("%s: %v", step.name, err)
		}
	}
}
