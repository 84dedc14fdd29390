package failure

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

func TestError_HasExitCodeAndMessage(t *testing.T) {
	answer := func(c codes.Code, msg string, details ...protoadapt.MessageV1) error {
		st, err := status.New(c, msg).WithDetails(details...)
		if err != nil {
			t.Fatal(err)
		}
		return st.Err()
	}
	for _, c := range []struct {
		name  string
		err   error
		code  int
		lines []string
	}{
		{"none", nil, OK, nil},
		{"own", errors.New("no space"), Other, []string{"no space"}},
		{"usage", Usagef("no %s", "key"), Usage, []string{"no key"}},
		{"not found", fmt.Errorf("get: %w", answer(codes.NotFound, "a/b is not set in acme@42")), NotFound, []string{"a/b is not set in acme@42"}},
		{"future", answer(codes.OutOfRange, "acme@9 is in the future"), NotFound, []string{"acme@9 is in the future"}},
		{"conflict", answer(codes.FailedPrecondition, "precondition failed in acme", &errdetails.PreconditionFailure{
			Violations: []*errdetails.PreconditionFailure_Violation{{Subject: "a/b", Description: "a/b: expected @3, found @5"}},
		}), Conflict, []string{"precondition failed in acme", "  a/b: expected @3, found @5"}},
		{"said already", answer(codes.FailedPrecondition, "precondition failed in acme: a/b: expected @3, found @5", &errdetails.PreconditionFailure{
			Violations: []*errdetails.PreconditionFailure_Violation{{Subject: "a/b", Description: "a/b: expected @3, found @5"}},
		}), Conflict, []string{"precondition failed in acme: a/b: expected @3, found @5"}},
		{"invalid", answer(codes.InvalidArgument, "invalid change set", &errdetails.BadRequest{
			FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "changes[0].key", Description: "key is empty"}, {Field: "message", Description: "too long"}},
		}), Invalid, []string{"invalid change set", "  changes[0].key: key is empty", "  message: too long"}},
		{"several faults in one message", answer(codes.InvalidArgument, "commit: a: is empty; b: too long", &errdetails.BadRequest{
			FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "a", Description: "is empty"}, {Field: "b", Description: "too long"}},
		}), Invalid, []string{"commit: a: is empty", "b: too long"}},
		{"denied", answer(codes.PermissionDenied, "needs the writer role"), Denied, []string{"needs the writer role"}},
		{"away", answer(codes.Unavailable, `connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:1: connect: connection refused"`), Other,
			[]string{"cannot reach the gateway: dial tcp 127.0.0.1:1: connect: connection refused", "try: stele doctor"}},
		{"an HTTP listener", answer(codes.Unavailable, `connection error: desc = "error reading server preface: http2: failed reading the frame payload: http2: frame too large, note that the frame header looked like an HTTP/1.1 header"`), Other,
			[]string{"the address is of an HTTP listener: use the gateway's gRPC address, which --listen sets", "try: stele doctor"}},
		{"no TLS", answer(codes.Unavailable, `connection error: desc = "transport: authentication handshake failed: tls: first record does not look like a TLS handshake"`), Other,
			[]string{"the gateway does not use TLS; connections without TLS are made only if all addresses are on this machine and no --tls-ca is given", "try: stele doctor"}},
		{"another CA", answer(codes.Unavailable, `connection error: desc = "transport: authentication handshake failed: tls: failed to verify certificate: x509: certificate signed by unknown authority"`), Other,
			[]string{"cannot make a TLS connection to the gateway: failed to verify certificate: x509: certificate signed by unknown authority", "try: stele doctor"}},
		{"stopped", answer(codes.Unavailable, `connection error: desc = "error reading server preface: raw-read tcp 127.0.0.1:39650->127.0.0.1:27030: use of closed network connection"`), Other,
			[]string{"the gateway accepts connections and does not answer; if it requires TLS, pass --tls-ca", "try: stele doctor"}},
		{"half open", answer(codes.Unavailable, "keepalive ping failed to receive ACK within timeout"), Other, []string{"the gateway does not answer", "try: stele doctor"}},
		{"a deadline", answer(codes.DeadlineExceeded, "context deadline exceeded"), Other, []string{"the gateway did not answer in time", "try: stele doctor, or a longer --timeout"}},
		{"a deadline that the gateway has seen first", answer(codes.DeadlineExceeded, "stream terminated by RST_STREAM with error code: CANCEL"), Other,
			[]string{"the gateway did not answer in time", "try: stele doctor, or a longer --timeout"}},
		{"no token file", answer(codes.Unauthenticated, "transport: per-RPC creds failed due to error: read the token: open t: no such file or directory"), Denied,
			[]string{"read the token: open t: no such file or directory", "try: --token-file FILE, or the token in $STELE_TOKEN"}},
		{"too large", answer(codes.ResourceExhausted, "grpc: received message larger than max (9250043 vs. 8388608)"), Invalid,
			[]string{"a request or an answer has 9250043 bytes, and the limit is 8388608", "try: split the change set, or read fewer keys at a time"}},
		{"a hint of its own", Try(answer(codes.Unavailable, "journal is unreachable"), "again"), Other, []string{"journal is unreachable", "try: again"}},
		{"over a limit", answer(codes.ResourceExhausted, "acme is over its limit of 5 requests per second: try again in 2s", &errdetails.RetryInfo{RetryDelay: durationpb.New(2 * time.Second)}), Other,
			[]string{"acme is over its limit of 5 requests per second: try again in 2s"}},
		{"silent", Exit(77), 77, nil},
		{"interrupted", fmt.Errorf("watch: %w", answer(codes.Canceled, "context canceled")), Interrupted, nil},
	} {
		if got := Code(c.err); got != c.code {
			t.Errorf("%s: exit code %d, want %d", c.name, got, c.code)
		}
		if d := cmp.Diff(c.lines, Lines(c.err)); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}
