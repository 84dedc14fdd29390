package gateway_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/budget"
	"github.com/stelehq/stele/internal/gateway/gatewaytest"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// partialCall makes a call over a connection of its own whose request has this length, and sends
// only the first bytes of it.
func (f *fixture) partialCall(t *testing.T, method, token string, length uint32) *http2.Framer {
	t.Helper()
	return f.partialCallOn(t, f.dialRaw(t), method, token, length)
}

func (f *fixture) dialRaw(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", f.conn.Target())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func (f *fixture) partialCallOn(t *testing.T, c net.Conn, method, token string, length uint32) *http2.Framer {
	t.Helper()
	framer := http2.NewFramer(c, c)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	var headers bytes.Buffer
	encoder := hpack.NewEncoder(&headers)
	for _, h := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", method}, {":authority", "stele"}, {"content-type", "application/grpc"}, {"te", "trailers"}, {"authorization", "Bearer " + token},
	} {
		encoder.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
	}
	_, err := c.Write([]byte(http2.ClientPreface))
	err = errors.Join(err, framer.WriteSettings(), framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headers.Bytes(), EndHeaders: true}),
		framer.WriteData(1, false, append(binary.BigEndian.AppendUint32([]byte{0}, length), "begin"...)))
	if err != nil {
		t.Fatal(err)
	}
	return framer
}

// answerTo is the status of the answer to a call.
func answerTo(t *testing.T, call *http2.Framer) (code codes.Code) {
	t.Helper()
	for {
		frame, err := call.ReadFrame()
		if err != nil {
			t.Fatalf("no answer: %v", err)
		}
		answer, ok := frame.(*http2.MetaHeadersFrame)
		if !ok {
			continue
		}
		if i := slices.IndexFunc(answer.Fields, func(h hpack.HeaderField) bool { return h.Name == "grpc-status" }); i >= 0 {
			if err := code.UnmarshalJSON([]byte(answer.Fields[i].Value)); err != nil {
				t.Fatal(err)
			}
			return code
		}
	}
}

// The gateway refuses a call before it has received the request, which may be long.
func TestReceive_RefusesBeforeTheRequest(t *testing.T) {
	t.Parallel()
	f, b := startBudget(t, 48<<20, 32<<20)
	writer := f.token(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Writer}})
	reader := f.token(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Reader}})
	const long = 8 << 20
	for _, test := range []struct {
		name, method, token string
		length              uint32
		want                codes.Code
	}{
		{"no token", stelev1.Ledger_Commit_FullMethodName, "none", long, codes.Unauthenticated},
		{"no token, a stream", stelev1.Ledger_CommitStream_FullMethodName, "none", long, codes.Unauthenticated},
		{"no permission", stelev1.Ledger_Commit_FullMethodName, reader, long, codes.PermissionDenied},
		{"too long", stelev1.Ledger_Commit_FullMethodName, writer, long + 1, codes.ResourceExhausted},
		{"a health check that is too long", grpc_health_v1.Health_Check_FullMethodName, "none", 5000, codes.ResourceExhausted},
		{"a stream of health checks that is too long", grpc_health_v1.Health_Watch_FullMethodName, "none", 5000, codes.ResourceExhausted},
	} {
		if got := answerTo(t, f.partialCall(t, test.method, test.token, test.length)); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
	gatewaytest.Exhaust(t, b.Requests)
	for _, method := range []string{stelev1.Ledger_Commit_FullMethodName, stelev1.Ledger_CommitStream_FullMethodName} {
		if got := answerTo(t, f.partialCall(t, method, writer, long)); got != codes.ResourceExhausted {
			t.Errorf("%s without memory: %v", method, got)
		}
	}
}

// A request that has memory and is not sent whole gives it back when its call ends.
func TestReceive_GivesMemoryBack(t *testing.T) {
	t.Parallel()
	f, b := startBudget(t, 48<<20, 32<<20)
	token := f.token(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Writer}})
	call := f.partialCall(t, stelev1.Ledger_Commit_FullMethodName, token, 8<<20)
	await := func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d bytes are used", what, b.Requests.Total.Used())
			}
		}
	}
	await("the request has no memory", func() bool { return b.Requests.Total.Used() == 8<<20 })
	if err := call.WriteRSTStream(1, http2.ErrCodeCancel); err != nil {
		t.Fatal(err)
	}
	await("the request keeps its memory", func() bool { return b.Requests.Total.Used() == 0 })
}

// Requests that one tenant does not send whole leave memory for other tenants, also if any number
// of them waits.
func TestReceive_OneTenantLeavesMemory(t *testing.T) {
	t.Parallel()
	f, b := startBudget(t, 48<<20, 32<<20)
	mallory := f.token(t, identity.Claims{Subject: "mallory", Tenant: "acme", Roles: []identity.Role{identity.Reader}})
	for range 20 { // more than there is memory for
		f.partialCall(t, stelev1.Config_BatchGet_FullMethodName, mallory, 8<<20)
	}
	for deadline := time.Now().Add(time.Minute); b.Requests.Total.Used() < 32<<20; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the requests have %d bytes", b.Requests.Total.Used())
		}
	}
	f.commit(t, f.as(t, "globex", identity.Writer), set("a", `"`+strings.Repeat("x", 400_000)+`"`))
}

// The parts of a request take no more memory than the request, however small they are.
func TestReceive_PartsOfOneByte(t *testing.T) { // alone, because it measures the heap
	f, b := startBudget(t, 48<<20, 32<<20)
	token := f.token(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Writer}})
	const length, sent = 4 << 20, 900_000 // less than a connection may send before it is read
	var frames []byte
	for range sent {
		frames = append(frames, 0, 0, 1, byte(http2.FrameData), 0, 0, 0, 0, 1, 'x')
	}
	before := heap()
	c := f.dialRaw(t)
	f.partialCallOn(t, c, stelev1.Ledger_Commit_FullMethodName, token, length)
	until(t, func() bool { return b.Requests.Total.Used() == length })
	if _, err := c.Write(frames); err != nil {
		t.Fatal(err)
	}
	ping := http2.NewFramer(c, c) // answered when all frames before it are read
	if err := ping.WritePing(false, [8]byte{1}); err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := ping.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if answer, ok := frame.(*http2.PingFrame); ok && answer.IsAck() && answer.Data == [8]byte{1} {
			break
		}
	}
	if used := heap() - before; used > length+8<<20 {
		t.Errorf("a request of 4 MiB, of which %d parts of a byte have come, takes %d MiB", sent, used>>20)
	}
	runtime.KeepAlive(frames)
}

// A caller whose calls never end gets slots for some of them, and leaves the other slots to other callers.
func TestReceive_CallersShareCalls(t *testing.T) {
	t.Parallel()
	f, _ := startBudget(t, 48<<20, 32<<20, func(b *budget.Budget) { b.Calls = 3 })
	token := f.token(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Writer}})
	read := func(tenant ledger.Tenant) error {
		_, err := f.ledger.GetHead(f.as(t, tenant, identity.Writer), &stelev1.GetHeadRequest{})
		return err
	}
	call := f.partialCall(t, stelev1.Ledger_Commit_FullMethodName, token, 100)
	until(t, func() bool { return status.Code(read("acme")) == codes.ResourceExhausted })
	var reason, share string
	retry := time.Duration(0)
	for _, d := range status.Convert(read("acme")).Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			reason, share = d.Reason, d.Metadata["share"]
		case *errdetails.RetryInfo:
			retry = d.RetryDelay.AsDuration()
		}
	}
	if reason != "SHARE_FULL" || share != "calls" || retry == 0 {
		t.Errorf("the refusal has the reason %q, the share %q, and %s to wait", reason, share, retry)
	}
	if err := read("other"); err != nil {
		t.Errorf("a call of another tenant: %v", err)
	}
	if err := call.WriteRSTStream(1, http2.ErrCodeCancel); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return read("acme") == nil })
}

// gRPC compresses the answer of a call that names a compression, also if its request is not
// compressed, and the memory of the compressed bytes would not be counted.
func TestReceive_CompressedCallsAreRejected(t *testing.T) {
	t.Parallel()
	f := start(t)
	ctx := f.as(t, "acme", identity.Reader)
	empty := &stelev1.GetStatusRequest{} // grpc-go does not compress an empty message
	if _, err := f.ledger.GetStatus(ctx, empty, grpc.UseCompressor(gzip.Name)); status.Code(err) != codes.Unimplemented {
		t.Errorf("a call with grpc-encoding gzip: %v", err)
	}
	if _, err := f.ledger.GetStatus(ctx, empty); err != nil {
		t.Error(err)
	}
}

// A call without the request that it needs is the fault of the caller.
func TestReceive_StreamWithoutRequest(t *testing.T) {
	t.Parallel()
	f := start(t)
	stream, err := f.conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, grpc_health_v1.Health_Watch_FullMethodName)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(new(grpc_health_v1.HealthCheckResponse)); status.Code(err) != codes.Internal || status.Convert(err).Message() != "the call has no request" {
		t.Errorf("a stream without a request: %v", err)
	}
}
