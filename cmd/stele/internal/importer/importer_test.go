package importer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/cmd/stele/internal/changelog"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"
)

// gateway keeps the promises of CommitStream that an import relies on: order,
// request ids, and nothing applied after the first error.
type gateway struct {
	stelev1.UnimplementedLedgerServer

	// breakEvery ends a stream as unavailable after so many commits, with the
	// last one applied and not acknowledged.
	breakEvery int
	// limitAfter refuses the next commit after so many, once, as over a limit.
	limitAfter int

	mu sync.Mutex
	// messages are each tenant's commits' messages, in order.
	messages map[string][]string
	revision map[string]uint64
}

func (g *gateway) CommitStream(s grpc.BidiStreamingServer[stelev1.CommitStreamRequest, stelev1.CommitStreamResponse]) error {
	md, _ := metadata.FromIncomingContext(s.Context())
	tenant := md.Get("as-tenant")[0]
	for n := 1; ; n++ {
		req, err := s.Recv()
		if err != nil {
			return nil
		}
		if g.limited(n) {
			st, _ := status.New(codes.ResourceExhausted, "over a limit").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Millisecond)})
			return st.Err()
		}
		resp, err := g.apply(tenant, req.Commit)
		if err != nil {
			return err
		}
		if g.breakEvery > 0 && n%g.breakEvery == 0 {
			return status.Error(codes.Unavailable, "going away")
		}
		if err := s.Send(&stelev1.CommitStreamResponse{Commit: resp}); err != nil {
			return err
		}
	}
}

func (g *gateway) limited(n int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.limitAfter == 0 || n <= g.limitAfter {
		return false
	}
	g.limitAfter = 0
	return true
}

func (g *gateway) apply(tenant string, req *stelev1.CommitRequest) (*stelev1.CommitResponse, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if strings.Contains(req.Message, "refuse") {
		return nil, status.Error(codes.InvalidArgument, "a bad value")
	}
	if rev, known := g.revision[req.RequestId]; known {
		return &stelev1.CommitResponse{Revision: rev, RepeatedRequest: true}, nil
	}
	g.messages[tenant] = append(g.messages[tenant], req.Message)
	rev := uint64(len(g.messages[tenant]))
	g.revision[req.RequestId] = rev
	return &stelev1.CommitResponse{Revision: rev}, nil
}

func start(t *testing.T, g *gateway) Config {
	t.Helper()
	g.messages, g.revision = make(map[string][]string), make(map[string]uint64)
	lis := bufconn.Listen(1 << 20)
	srv := grpc.NewServer()
	stelev1.RegisterLedgerServer(srv, g)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(lis) }()
	conn, err := grpc.NewClient("passthrough:gateway", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		srv.Stop()
		<-served
	})
	return Config{
		Client: stelev1.NewLedgerClient(conn),
		ForTenant: func(ctx context.Context, tenant ledger.Tenant) context.Context {
			return metadata.AppendToOutgoingContext(ctx, "as-tenant", string(tenant))
		},
	}
}

// line is one of a log whose messages count up.
func line(tenant string, n int) string {
	return fmt.Sprintf(`{"time":"2024-01-01T00:00:00Z","author":"a","message":"%d","tenant":"%s","changes":[{"key":"a/b","value":%d}]}`, n, tenant, n)
}

func reader(t *testing.T, lines []string) *changelog.Reader {
	t.Helper()
	r, err := changelog.NewReader(strings.NewReader(strings.Join(lines, "\n")), "")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func counting(n int) []string {
	s := make([]string, n)
	for i := range s {
		s[i] = fmt.Sprint(i)
	}
	return s
}

func TestRun_BrokenStreamsWriteEachLineOnce(t *testing.T) {
	g := &gateway{breakEvery: 7}
	cfg := start(t, g)
	var lines []string
	for n := range 20 {
		for tenant := range maxLanes + 3 {
			lines = append(lines, line(fmt.Sprintf("t%d", tenant), n))
		}
	}
	tallies, err := Run(t.Context(), cfg, reader(t, lines))
	if err != nil {
		t.Fatal(err)
	}
	if len(tallies) != maxLanes+3 {
		t.Errorf("tallies of %d tenants", len(tallies))
	}
	for _, tl := range tallies {
		if tl.Written+tl.Present != 20 || tl.Head != 20 {
			t.Errorf("tally %+v of 20 lines", tl)
		}
		if d := cmp.Diff(counting(20), g.messages[string(tl.Tenant)]); d != "" {
			t.Errorf("%s (-want +got):\n%s", tl.Tenant, d)
		}
	}
}

func TestRun_OverALimitWaits(t *testing.T) {
	g := &gateway{limitAfter: 8}
	cfg := start(t, g)
	var lines []string
	for n := range 20 {
		lines = append(lines, line("x", n))
	}
	tallies, err := Run(t.Context(), cfg, reader(t, lines))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]Tally{{Tenant: "x", Written: 20, Head: 20}}, tallies); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if g.limitAfter != 0 {
		t.Error("nothing was refused")
	}
}

func TestRun_AgainWritesOnlyNewLines(t *testing.T) {
	g := &gateway{}
	cfg := start(t, g)
	var lines []string
	for n := range 1000 {
		lines = append(lines, line("x", n), line("y", n))
	}
	for _, run := range []struct {
		only  ledger.Tenant
		lines int
		want  []Tally
	}{
		{"x", 1000, []Tally{{Tenant: "x", Written: 500, Head: 500}}},
		{"", 1000, []Tally{{Tenant: "x", Present: 500, Head: 500}, {Tenant: "y", Written: 500, Head: 500}}},
		{"", 2000, []Tally{{Tenant: "x", Written: 500, Present: 500, Head: 1000}, {Tenant: "y", Written: 500, Present: 500, Head: 1000}}},
	} {
		cfg.Only = run.only
		total := 0
		cfg.Acknowledged = func(n int, _ int64) { total = n }
		got, err := Run(t.Context(), cfg, reader(t, lines[:run.lines]))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(run.want, got); d != "" {
			t.Errorf("%d lines (-want +got):\n%s", run.lines, d)
		}
		sum := 0
		for _, tl := range got {
			sum += tl.Written + tl.Present
		}
		if total != sum {
			t.Errorf("progress ended at %d of %d", total, sum)
		}
	}
}

func TestRun_BadLineStops(t *testing.T) {
	for name, bad := range map[string]string{
		"unreadable":            `{"time":`,
		"refused by the ledger": strings.Replace(line("x", 500), `"500"`, `"refuse"`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			g := &gateway{}
			cfg := start(t, g)
			var lines []string
			for n := range 400 {
				lines = append(lines, line("x", n), line("y", n))
			}
			lines = append(lines, bad)
			for n := range 400 {
				lines = append(lines, line("x", 1000+n))
			}
			tallies, err := Run(t.Context(), cfg, reader(t, lines))
			var at *LineError
			if !errors.As(err, &at) || at.Number != 801 {
				t.Fatalf("error is %v, want one of line 801", err)
			}
			if d := cmp.Diff([]Tally{{Tenant: "x", Written: 400, Head: 400}, {Tenant: "y", Written: 400, Head: 400}}, tallies); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if d := cmp.Diff(counting(400), g.messages["x"]); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestRun_InterruptWaitsForOutcomes(t *testing.T) {
	g := &gateway{}
	cfg := start(t, g)
	ctx, interrupt := context.WithCancel(t.Context())
	var lines []string
	for n := range 5000 {
		lines = append(lines, line("x", n))
	}
	var once sync.Once
	cfg.Acknowledged = func(int, int64) { once.Do(interrupt) }
	tallies, err := Run(ctx, cfg, reader(t, lines))
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error is %v", err)
	}
	g.mu.Lock()
	applied := len(g.messages["x"])
	g.mu.Unlock()
	if len(tallies) != 1 || tallies[0].Written != applied || applied == 5000 {
		t.Errorf("%+v of %d that were applied", tallies, applied)
	}
}

func TestRun_UnreachableGatewayIsGivenUp(t *testing.T) {
	g := &gateway{breakEvery: 1}
	cfg := start(t, g)
	cfg.GiveUp = time.Nanosecond
	_, err := Run(t.Context(), cfg, reader(t, []string{line("x", 1), line("x", 2)}))
	var at *LineError
	if !errors.As(err, &at) || at.Number != 1 || status.Code(at.Err) != codes.Unavailable {
		t.Errorf("error is %v", err)
	}
}
