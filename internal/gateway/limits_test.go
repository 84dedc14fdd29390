package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/budget"
	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/gatewaytest"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/ledger"
	syncv1 "github.com/stelehq/stele/schemas/flagd/sync/v1"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// setLimits makes them a tenant's policy, or the default policy without a tenant; nil
// removes it.
func (f *fixture) setLimits(t testing.TB, tenant ledger.Tenant, limits string) {
	t.Helper()
	key := "policy/limits"
	if tenant != "" {
		key = fmt.Sprintf("policy/%s/limits", tenant)
	}
	req := set(key, limits)
	req.Changes[0].Delete = limits == ""
	f.commit(t, f.system(t), req)
}

// overLimit is the limit that an error names, and how long to wait; "" for any other
// error.
func overLimit(err error) (limit string, wait time.Duration) {
	st := status.Convert(err)
	if st.Code() != codes.ResourceExhausted {
		return "", 0
	}
	for _, d := range st.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			if d.Reason == "OVER_LIMIT" {
				limit = d.Metadata["limit"]
			}
		case *errdetails.RetryInfo:
			wait = d.RetryDelay.AsDuration()
		}
	}
	return limit, wait
}

// A limit of one a thousand seconds lets nothing through twice while a test runs.
func TestLimits_OnlyTheTenantOverALimitIsRejected(t *testing.T) {
	f := startRecorded(t)
	acme, other := f.as(t, "acme", identity.Writer), f.as(t, "other", identity.Writer)
	operator := bearer(t.Context(), f.token(t, identity.Claims{Roles: []identity.Role{identity.Operator}}), "as-tenant", "acme")
	large := strings.Repeat("x", 200_000)
	for _, ctx := range []context.Context{acme, other} {
		f.commit(t, ctx, set("a", `"`+large+`"`))
	}
	get := func(ctx context.Context) error {
		_, err := f.config.Get(ctx, &stelev1.GetRequest{Key: "a"})
		return err
	}
	write := func(ctx context.Context) error {
		_, err := f.ledger.Commit(ctx, set("b", "1"))
		return err
	}
	read := func(ctx context.Context) error {
		stream, err := f.config.Read(ctx)
		if err != nil {
			return err
		}
		for range 3 {
			if err := stream.Send(&stelev1.ReadRequest{Keys: []string{"a"}}); err != nil {
				return err
			}
			resp, err := stream.Recv()
			if err != nil {
				return err
			}
			if resp.Error != nil {
				return status.ErrorProto(resp.Error)
			}
		}
		return nil
	}
	writeMany := func(ctx context.Context) error {
		stream, err := f.ledger.CommitStream(ctx)
		if err != nil {
			return err
		}
		for range 3 {
			if err := stream.Send(&stelev1.CommitStreamRequest{Commit: set("b", "1")}); err != nil && err != io.EOF {
				return err
			}
		}
		stream.CloseSend()
		for range 3 {
			if _, err := stream.Recv(); err != nil {
				return err
			}
		}
		return nil
	}
	rollback := func(ctx context.Context) error {
		_, err := f.ledger.Rollback(ctx, &stelev1.RollbackRequest{Prefix: "b", To: &stelev1.At{Point: &stelev1.At_Revision{Revision: 1}}})
		if status.Code(err) == codes.FailedPrecondition || status.Code(err) == codes.InvalidArgument { // there is nothing to do
			return nil
		}
		return err
	}
	watch := func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := f.config.Watch(ctx)
		if err != nil {
			return err
		}
		for id := range uint64(3) {
			if err := stream.Send(&stelev1.WatchRequest{Request: &stelev1.WatchRequest_Create{Create: &stelev1.CreateWatch{Id: id + 1, Keys: []string{"a"}}}}); err != nil {
				return err
			}
			resp, err := stream.Recv()
			if err != nil {
				return err
			}
			if c := resp.GetCanceled(); c != nil {
				return status.ErrorProto(c.Status)
			}
		}
		return nil
	}
	for _, tc := range []struct {
		name, limits string
		call         func(context.Context) error
		limit        string
		allowed      int // calls that come through before
	}{
		{"calls", `{"requests_per_second":0.001}`, get, "requests_per_second", 1},
		{"calls with a burst", `{"requests_per_second":0.001,"burst":5}`, get, "requests_per_second", 5},
		{"writes also count as requests", `{"requests_per_second":0.001,"burst":2}`, write, "requests_per_second", 2},
		{"a stream's requests", `{"requests_per_second":0.001,"burst":3}`, read, "requests_per_second", 0},
		{"streams", `{"requests_per_second":0.001,"burst":4}`, read, "requests_per_second", 1},
		{"a watch stream's requests", `{"requests_per_second":0.001,"burst":4}`, watch, "requests_per_second", 1},
		{"bytes of answers", `{"bytes_per_second":1}`, get, "bytes_per_second", 1},
		{"bytes of a stream's answers", `{"bytes_per_second":1}`, read, "bytes_per_second", 0},
		{"change sets", `{"change_sets_per_second":0.001}`, write, "change_sets_per_second", 1},
		{"a stream's change sets", `{"change_sets_per_second":2.001}`, writeMany, "", 1}, // three at once
		{"more of them", `{"change_sets_per_second":0.001}`, writeMany, "change_sets_per_second", 0},
		{"change sets that the ledger makes", `{"change_sets_per_second":0.001}`, rollback, "change_sets_per_second", 1},
		{"reads are no change sets", `{"change_sets_per_second":0.001}`, get, "", 5},
		{"as many watches as a subject may have", `{"watches":5}`, watch, "", 1},
		{"watches", `{"watches":2}`, watch, "watches", 0}, // those before may not have ended yet
		{"nothing", `{}`, get, "", 20},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f.setLimits(t, "acme", tc.limits)
			defer get(acme) // so that what was used is forgotten
			defer f.setLimits(t, "acme", "")
			for i := range tc.allowed {
				if err := tc.call(acme); err != nil {
					t.Fatalf("call %d of %d: %v", i+1, tc.allowed, err)
				}
			}
			if tc.limit != "" {
				err := tc.call(acme)
				limit, wait := overLimit(err)
				if limit != tc.limit || wait <= 0 {
					t.Errorf("%v: over the limit %q, wait %s; want %q and a time", err, limit, wait, tc.limit)
				}
				if st := status.Convert(err); !strings.Contains(st.Message(), "acme") {
					t.Errorf("%q does not say who is over it", st.Message())
				}
			}
			for who, ctx := range map[string]context.Context{"the neighbor": other, "an operator": operator} {
				for range tc.allowed + 2 {
					if err := tc.call(ctx); err != nil {
						t.Fatalf("%s: %v", who, err)
					}
				}
			}
		})
	}
}

func TestLimits_RetryInfo(t *testing.T) {
	f := start(t)
	f.setLimits(t, "acme", `{"requests_per_second":20,"burst":1}`)
	ctx := f.as(t, "acme", identity.Reader)
	for range 5 {
		var wait time.Duration
		until(t, func() bool {
			var limit string
			_, err := f.ledger.GetHead(ctx, &stelev1.GetHeadRequest{})
			limit, wait = overLimit(err)
			return limit != ""
		})
		if wait > 51*time.Millisecond {
			t.Errorf("20 a second, and the next in %s", wait)
		}
		time.Sleep(wait)
		if _, err := f.ledger.GetHead(ctx, &stelev1.GetHeadRequest{}); err != nil {
			t.Errorf("after %s: %v", wait, err)
		}
	}
}

// A watch that has ended frees its slot, whatever ended it.
func TestLimits_EndedWatchesAreReleased(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.setLimits(t, "acme", `{"watches":3}`)
	ctx := f.as(t, "acme", identity.Reader)
	create := func(stream grpc.BidiStreamingClient[stelev1.WatchRequest, stelev1.WatchResponse], id uint64, from uint64) error {
		t.Helper()
		if err := stream.Send(&stelev1.WatchRequest{Request: &stelev1.WatchRequest_Create{Create: &stelev1.CreateWatch{Id: id, Keys: []string{"a"}, FromRevision: from}}}); err != nil {
			t.Fatal(err)
		}
		resp, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return status.ErrorProto(resp.GetCanceled().GetStatus())
	}
	open := func() (stream grpc.BidiStreamingClient[stelev1.WatchRequest, stelev1.WatchResponse], end func()) {
		ctx, cancel := context.WithCancel(ctx)
		t.Cleanup(cancel)
		stream, err := f.config.Watch(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return stream, cancel
	}
	first, end := open()
	second, _ := open()
	if err := errors.Join(create(first, 1, 0), create(second, 1, 0)); err != nil {
		t.Fatal(err)
	}
	if limit, _ := overLimit(create(second, 2, 0)); limit != "watches" {
		t.Fatal("a third watch was made")
	}
	if err := second.Send(&stelev1.WatchRequest{Request: &stelev1.WatchRequest_Cancel{Cancel: &stelev1.CancelWatch{Id: 1}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Recv(); err != nil {
		t.Fatal(err)
	}
	if err := create(second, 3, 99); status.Code(err) != codes.Unavailable {
		t.Fatalf("from a revision that is not there: %v", err)
	}
	if err := create(second, 4, 0); err != nil {
		t.Errorf("after a canceled one, and one that failed: %v", err)
	}
	end()
	id := uint64(4)
	until(t, func() bool {
		id++
		return create(second, id, 0) == nil
	})
	if limit, _ := overLimit(create(second, 99, 0)); limit != "watches" {
		t.Error("a third watch was made")
	}
}

func TestLimits_ChangeAtRunTime(t *testing.T) {
	t.Parallel()
	f := start(t)
	ctx := f.as(t, "acme", identity.Reader)
	const one, many = `{"requests_per_second":0.001}`, `{"requests_per_second":0.001,"burst":1000}`
	for _, tc := range []struct {
		name          string
		tenant        ledger.Tenant
		limits        string
		wantLimitedTo int // calls out of ten
	}{
		{"none", "acme", "", 10},
		{"those of all", "", one, 1},
		{"its own", "acme", many, 10},
		{"its own that cannot be read", "acme", `{"requests":1}`, 10},
		{"others'", "other", one, 10},
		{"its own, fixed", "acme", `{"requests_per_second":0.001,"burst":3}`, 3},
		{"its own that cannot be read any more", "acme", `nonsense`, 0}, // those before stay, and are used up
		{"no limits of its own", "acme", `{}`, 10},
		{"those of all again", "acme", "", 1},
		{"those of all that cannot be read", "", `{"burst":7}`, 0},
		{"none again", "", "", 10},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text := tc.limits
			if text == "nonsense" {
				text = `"nonsense"`
			}
			f.setLimits(t, tc.tenant, text)
			allowed := 0
			for range 10 {
				_, err := f.ledger.GetHead(ctx, &stelev1.GetHeadRequest{})
				switch limit, _ := overLimit(err); {
				case err == nil:
					allowed++
				case limit != "requests_per_second":
					t.Fatal(err)
				}
			}
			if allowed != tc.wantLimitedTo {
				t.Errorf("%d of 10 calls allowed, want %d", allowed, tc.wantLimitedTo)
			}
		})
	}
}

func TestLimits_Validation(t *testing.T) {
	for _, tc := range []struct{ key, value, want string }{
		{"policy/acme/limits", `{"requests_per_second":500,"burst":2000,"bytes_per_second":1e7,"change_sets_per_second":0.5,"watches":10}`, ""},
		{"policy/limits", `{"watches":10}`, ""},
		{"policy/limits", `{}`, ""},
		{"policy/acme/limits", `null`, "not an object"},
		{"policy/acme/limits", `[]`, "object"},
		{"policy/acme/limits", `{"request_per_second":1}`, "request_per_second"},
		{"policy/acme/limits", `{"requests_per_second":0}`, "leave it out"},
		{"policy/acme/limits", `{"bytes_per_second":-1}`, "bytes_per_second"},
		{"policy/acme/limits", `{"bytes_per_second":1e300}`, "bytes_per_second"},
		{"policy/acme/limits", `{"watches":1.5}`, "whole"},
		{"policy/acme/limits", `{"requests_per_second":1,"burst":0.5}`, "whole"},
		{"policy/acme/limits", `{"burst":5}`, "requests_per_second"},
		{"policy/acme/limits", `{"watches":"5"}`, "number"},
		{"policy/limits", `{"burst":5}`, "requests_per_second"},
		{"policy/_system/limits", `{"watches":10}`, "operators"},
		{"policy/limits/limits", `{"watches":10}`, ""}, // a tenant may be called so
		{"policy/acme/quota", `{}`, "limits"},
	} {
		err := policy.Check(ledger.System, []ledger.Change{{Key: ledger.Key(tc.key), Value: ledger.Value(tc.value)}})
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s %s: %v, want %q", tc.key, tc.value, err, tc.want)
		}
	}
}

// Answers that no caller reads do not accumulate without end.
func TestLimits_UnreadAnswersAreBounded(t *testing.T) {
	f := start(t)
	value := `"` + strings.Repeat("x", 500_000) + `"`
	var keys []string
	for i := range 15 {
		keys = append(keys, fmt.Sprint("a", i))
	}
	acme := f.as(t, "acme", identity.Writer)
	for batch := range slices.Chunk(keys, 5) {
		req := &stelev1.CommitRequest{}
		for _, k := range batch {
			req.Changes = append(req.Changes, &stelev1.Change{Key: k, Value: value})
		}
		f.commit(t, acme, req)
	}
	f.commit(t, f.as(t, "other", identity.Writer), set("a0", "1"))

	// Each stream takes one answer's beginning, and no more.
	ctx, cancel := context.WithCancel(acme)
	defer cancel()
	refused := 0
	for range 30 {
		stream, err := f.config.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&stelev1.ReadRequest{Keys: keys}); err != nil {
			t.Fatal(err)
		}
	}
	until(t, func() bool {
		_, err := f.ledger.GetHead(acme, &stelev1.GetHeadRequest{})
		limit, wait := overLimit(err)
		if limit == "unsent_bytes" && wait > 0 {
			refused++
		}
		return refused > 0
	})
	if _, err := f.config.Get(f.as(t, "other", identity.Reader), &stelev1.GetRequest{Key: "a0"}); err != nil {
		t.Errorf("the neighbor: %v", err)
	}
	cancel()
	until(t, func() bool {
		_, err := f.ledger.GetHead(acme, &stelev1.GetHeadRequest{})
		return err == nil
	})
	w := httptest.NewRecorder()
	f.gateway.HTTP().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if !strings.Contains(w.Body.String(), `stele_over_limit_total{limit="unsent_bytes"}`) {
		t.Error("the metrics do not count it")
	}
}

// One subject cannot take all watches of its tenant, by whatever method.
func TestWatches_SubjectsOfATenantShareThem(t *testing.T) {
	f := start(t)
	f.setLimits(t, "acme", `{"watches":8}`)
	as := func(subject string) context.Context {
		return bearer(t.Context(), f.token(t, identity.Claims{Subject: subject, Tenant: "acme", Roles: []identity.Role{identity.Writer}}))
	}
	f.commit(t, as("ann"), set("flags/a", "true"))
	flags := func(ctx context.Context) error {
		s, err := syncv1.NewFlagSyncServiceClient(f.conn).SyncFlags(ctx, &syncv1.SyncFlagsRequest{})
		if err == nil {
			_, err = s.Recv()
		}
		return err
	}
	watch := func(ctx context.Context) error {
		return status.ErrorProto(recv(t, f.watch(t, ctx, &stelev1.CreateWatch{Id: 1, Keys: []string{"a"}})).GetCanceled().GetStatus())
	}
	fill := func(subject string, open ...func(context.Context) error) (n int) {
		for ctx := as(subject); ; n++ {
			if err := open[n%len(open)](ctx); err != nil {
				if limit, _ := overLimit(err); limit != "watches" {
					t.Errorf("%s: %v", subject, err)
				}
				return n
			}
		}
	}
	if n := fill("mallory", watch, flags); n != 4 {
		t.Errorf("a subject alone gets %d of 8", n)
	}
	if n := fill("bob", flags, watch); n != 2 {
		t.Errorf("the second subject gets %d of the other 4", n)
	}
	if n := fill("ann", watch); n != 1 {
		t.Errorf("the third subject gets %d of the other 2", n)
	}
}

// One caller cannot fill the memory with streams that it leaves open without a request.
func TestStreams_Shares(t *testing.T) {
	f := start(t, func(cfg *gateway.Config) {
		cfg.Budget = budget.New(0)
		cfg.Budget.Streams = 100
	})
	f.commit(t, f.as(t, "acme", identity.Writer), set("a", "1"))
	fill := func(c identity.Claims) (n int) {
		ctx := bearer(t.Context(), f.token(t, c))
		for ; ; n++ {
			s, err := f.config.Read(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Send(&stelev1.ReadRequest{Keys: []string{"a"}}); err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			switch _, err := s.Recv(); status.Code(err) {
			case codes.OK:
			case codes.ResourceExhausted:
				return n
			default:
				t.Fatal(err)
			}
		}
	}
	for _, tc := range []struct {
		tenant  ledger.Tenant
		subject string
		want    int
	}{{"acme", "mallory", 34}, {"acme", "ann", 16}, {"acme", "bob", 0}, {"globex", "ann", 17}} {
		if n := fill(identity.Claims{Subject: tc.subject, Tenant: tc.tenant, Roles: []identity.Role{identity.Reader}}); n != tc.want {
			t.Errorf("%s of %s gets %d of 100 streams, want %d", tc.subject, tc.tenant, n, tc.want)
		}
	}
}

// A stream releases its slot, whatever ends it.
func TestStreams_FailedOnesReleaseTheirSlots(t *testing.T) {
	t.Parallel()
	var unrecorded atomic.Bool
	var f *fixture
	log := sync.OnceValues(func() (policy.ReadLog, error) { return gatewaytest.ReadLog(f.node)() })
	f = start(t, func(cfg *gateway.Config) {
		cfg.Budget = budget.New(0)
		cfg.Budget.Streams = 1
		cfg.ReadLog = func() (policy.ReadLog, error) {
			if unrecorded.Load() {
				return nil, ledger.ErrUnavailable
			}
			return log()
		}
	})
	f.commit(t, f.as(t, "acme", identity.Writer), set("a", "1"))
	bob := identity.Claims{Subject: "bob", Tenant: "acme", Roles: []identity.Role{identity.Reader}}
	ann := f.as(t, "acme", identity.Reader)
	// ends opens a watch, and returns what ends it after it was disturbed.
	ends := func(ctx context.Context, disturb func()) error {
		stream, err := f.config.Watch(ctx)
		if err != nil {
			return err
		}
		if err := stream.Send(&stelev1.WatchRequest{Request: &stelev1.WatchRequest_Create{Create: &stelev1.CreateWatch{Id: 1, Keys: []string{"b"}}}}); err != nil && err != io.EOF {
			return err
		}
		if _, err := stream.Recv(); err != nil {
			return err
		}
		disturb()
		for {
			if _, err := stream.Recv(); err != nil {
				return err
			}
		}
	}
	for name, tc := range map[string]struct {
		end  func() error
		want codes.Code
		text string // of the error
	}{
		"a tenant over its limit": {func() error {
			f.setLimits(t, "acme", `{"requests_per_second":0.001}`)
			defer f.setLimits(t, "acme", "")
			f.config.Get(ann, &stelev1.GetRequest{Key: "a"})
			return ends(ann, nil)
		}, codes.ResourceExhausted, "requests per second"},
		"no record": {func() error {
			unrecorded.Store(true)
			defer unrecorded.Store(false)
			stream, err := f.ledger.CommitStream(f.actingOperator(t))
			if err != nil {
				return err
			}
			_, err = stream.Recv()
			return err
		}, codes.Unavailable, "must be recorded"},
		"an invalid request": {func() error {
			stream, err := f.config.Watch(ann)
			if err != nil {
				return err
			}
			if err := stream.Send(&stelev1.WatchRequest{}); err != nil && err != io.EOF {
				return err
			}
			_, err = stream.Recv()
			return err
		}, codes.InvalidArgument, ""},
		"no permission of its handler": {func() error {
			_, err := f.follow(ann, "acme")
			return err
		}, codes.PermissionDenied, ""},
		"a token that expires": {func() error {
			short := bob
			short.TTL = time.Second
			return ends(bearer(t.Context(), f.token(t, short)), func() {})
		}, codes.Unauthenticated, "expired"},
		"a revoked token": {func() error {
			defer f.commit(t, f.system(t), set("policy/revoked", `{"revoked":[]}`))
			return ends(bearer(t.Context(), f.token(t, bob)), func() {
				f.commit(t, f.system(t), set("policy/revoked", `{"revoked":[{"subject":"bob"}]}`))
			})
		}, codes.Unauthenticated, "revoked"},
		"a client that leaves": {func() error {
			ctx, cancel := context.WithCancel(ann)
			defer cancel()
			return ends(ctx, cancel)
		}, codes.Canceled, ""},
	} {
		if err := tc.end(); status.Code(err) != tc.want || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: the stream ends with %v, want %v %q", name, err, tc.want, tc.text)
		}
		until(t, func() bool { // a client that leaves does not wait for the handler
			stream, err := f.config.Read(ann)
			if err != nil {
				return false
			}
			stream.CloseSend()
			_, err = stream.Recv()
			return err == io.EOF
		})
	}
}
