package bridge

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stelehq/stele/client/refresh"
	"google.golang.org/grpc"
)

// Services far beyond the eight that the AWS sample reaches.
func TestRefresh_NotifiesAllServices(t *testing.T) {
	var all []*service
	var addresses []string
	for range 40 {
		g, w := grpcService(t, "127.0.0.1:0"), webhookService(t)
		all = append(all, g, w)
		addresses = append(addresses, g.address, w.address)
	}
	b := newBridge(t, targets(t, map[string][]string{"tenantconfig/": addresses}))
	if err := b.Handle(t.Context(), event(t, "configuration-changed")); err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		s.check(t, 1)
	}
}

func TestRefresh_NotifiesEveryInstanceOfAName(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has all of 127.0.0.0/8")
	}
	first := grpcService(t, "127.0.0.1:0")
	instances, found := []*service{first}, []netip.Addr{netip.IPv6Loopback(), netip.MustParseAddr("127.0.0.1")}
	port := netip.MustParseAddrPort(strings.TrimPrefix(first.address, "grpc://")).Port()
	for i := range 19 {
		a := netip.AddrFrom4([4]byte{127, 0, 0, byte(i + 2)})
		instances, found = append(instances, grpcService(t, netip.AddrPortFrom(a, port).String())), append(found, a)
	}
	b := newBridge(t, targets(t, map[string][]string{"": {strings.Replace(first.address, "127.0.0.1", "localhost", 1)}}))
	b.lookup = func(context.Context, string, string) ([]netip.Addr, error) { return found, nil }
	if err := b.Handle(t.Context(), event(t, "configuration-changed")); err != nil {
		t.Fatal(err)
	}
	for _, s := range instances {
		s.check(t, 1)
	}
}

func TestRefresh_NotifiesByPrefix(t *testing.T) {
	s, longer, other := grpcService(t, "127.0.0.1:0"), webhookService(t), webhookService(t)
	b := newBridge(t, targets(t, map[string][]string{
		"tenantconfig":           {s.address},
		"tenantconfig/checkout/": {s.address, longer.address},
		"tenantconfig/cart/":     {other.address},
		"paramconfig/":           {other.address},
	}))
	if err := b.Handle(t.Context(), event(t, "configuration-changed")); err != nil {
		t.Fatal(err)
	}
	s.check(t, 1)
	longer.check(t, 1)
	other.check(t, 0)
	if err := b.Handle(t.Context(), event(t, "configuration-changed", "tenantconfig/checkout", "no/target")); err != nil {
		t.Fatal(err)
	}
	s.check(t, 1)
}

func TestRefresh_FailedServiceDelaysNoOther(t *testing.T) {
	good, bad, worse, hook := grpcService(t, "127.0.0.1:0"), grpcService(t, "127.0.0.1:0"), webhookService(t), webhookService(t)
	bad.fail, worse.fail = errors.New("the disk is full"), errors.New("the pool is closed")
	b := newBridge(t, targets(t, map[string][]string{"": {bad.address, worse.address, "grpc://no.such.host.invalid:1", good.address, hook.address}}))
	resolve := b.lookup
	b.lookup = func(ctx context.Context, network, host string) ([]netip.Addr, error) {
		if host == "no.such.host.invalid" {
			return nil, errors.New("no such host")
		}
		return resolve(ctx, network, host)
	}
	err := b.Handle(t.Context(), event(t, "configuration-changed"))
	if err == nil {
		t.Fatal("the event was handled")
	}
	for _, want := range []string{"notify " + bad.address, "the disk is full", "notify " + worse.address, "the pool is closed", "notify grpc://no.such.host.invalid:1: no such host"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error says nothing about %q: %v", want, err)
		}
	}
	for _, s := range []*service{good, bad, worse, hook} {
		if strings.Contains(err.Error(), s.address) != (s.fail != nil) {
			t.Errorf("%s fails with %v: %v", s.address, s.fail, err)
		}
		s.check(t, 1)
	}

	// Lambda retries the event. Services may be notified again.
	bad.fail, worse.fail = nil, nil
	b = newBridge(t, targets(t, map[string][]string{"": {bad.address, worse.address}}))
	if err := b.Handle(t.Context(), event(t, "configuration-changed")); err != nil {
		t.Fatal(err)
	}
	bad.check(t, 2)
	worse.check(t, 2)
}

func TestRefresh_WrongSecret(t *testing.T) {
	s, hook := grpcService(t, "127.0.0.1:0"), webhookService(t)
	env := targets(t, map[string][]string{"": {s.address, hook.address}})
	env[secretVariable] = "staple-correct-horse"
	err := newBridge(t, env).Handle(t.Context(), event(t, "configuration-changed"))
	if err == nil || !strings.Contains(err.Error(), "Unauthenticated") || !strings.Contains(err.Error(), "401") {
		t.Errorf("%v", err)
	}
	s.check(t, 0)
	hook.check(t, 0)
}

// Beyond this machine a target must prove who it is before it gets anything.
func TestRefresh_UsesTLS(t *testing.T) {
	s := grpcService(t, "127.0.0.1:0")
	hook := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(hook.Close)
	b := newBridge(t, targets(t, map[string][]string{"": {strings.Replace(s.address, "127.0.0.1", "service.example", 1), hook.URL}}))
	b.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
	err := b.Handle(t.Context(), event(t, "configuration-changed"))
	if err == nil || !strings.Contains(err.Error(), "authentication handshake failed") || !strings.Contains(err.Error(), "certificate signed by unknown authority") {
		t.Errorf("%v", err)
	}
	s.check(t, 0)
}

// No more calls than are allowed wait at a time, and one that never answers ends
// with the event.
func TestRefresh_ConcurrencyIsBounded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	waiting := 0
	full := make(chan struct{})
	listener := listen(t, "127.0.0.1:0")
	serveGRPC(t, listener, func(server *grpc.Server) {
		err := refresh.Serve(server, []string{secret}, func(ctx context.Context, _ refresh.Request) error {
			mu.Lock()
			waiting++
			if waiting == parallel {
				close(full)
			}
			mu.Unlock()
			<-ctx.Done()
			return ctx.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	address := netip.MustParseAddr("127.0.0.1")
	b := newBridge(t, targets(t, map[string][]string{"": {"grpc://" + listener.Addr().String()}}))
	b.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
		all := make([]netip.Addr, 3*parallel)
		for i := range all {
			all[i] = address
		}
		return all, nil
	}
	done := make(chan error)
	go func() { done <- b.Handle(ctx, event(t, "configuration-changed")) }()
	<-full
	cancel()
	err := <-done
	if n := strings.Count(err.Error(), "notify grpc://"); n != 3*parallel {
		t.Errorf("%d calls have failed, not all", n)
	}
	mu.Lock()
	defer mu.Unlock()
	if waiting != parallel {
		t.Errorf("%d calls were under way, not %d", waiting, parallel)
	}
}
