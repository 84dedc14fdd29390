package gateway_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/gateway/policy"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// Only methods with a row in the table are served, and each row is of a served method.
func TestMethods_ServedMethodsAreTheRows(t *testing.T) {
	f := start(t, func(c *gateway.Config) { c.Reflection = true })
	var rows []string
	for _, m := range policy.Sorted() {
		rows = append(rows, m.Name)
	}
	if d := cmp.Diff(f.gateway.Registered(), rows); d != "" {
		t.Errorf("served methods and rows of the table differ (-served +row):\n%s", d)
	}
}

// TestMethods_UnknownPaths calls by HTTP/2 itself, because gRPC's own
// client would normalize the paths.
func TestMethods_UnknownPaths(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme", identity.Admin)
	f.commit(t, ctx, set("a", "1"))
	token := f.token(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Admin, identity.Operator}})
	const get = "stele.v1.Config/Get"
	if status, answered := rawCall(t, f.conn.Target(), "/"+get, token); status != codes.OK || !answered {
		t.Fatalf("the right path: %s, answered %v", status, answered)
	}
	if status, answered := rawCall(t, f.conn.Target(), "/"+get, ""); status != codes.Unauthenticated || answered {
		t.Fatalf("the right path without a token: %s, answered %v", status, answered)
	}
	paths := []string{
		get, "//" + get, "/" + get + "/", "/" + get + "?x", "/" + get + "#x", "/" + get + "\x00", "/stele.v1.Config//Get", "/stele.v1.Config/./Get", "/stele.v1.Config%2FGet",
		"/stele.v1.Config/%47et", "/stele.v1.Config/get", "/STELE.V1.CONFIG/GET", "/stele.v1.Config", "/stele.v1.Config/", "stele.v1.Config.Get", "/stele.v1.Config.Get",
		"/stele.v1.Config/../stele.v1.Ledger/Commit", "/stele.v1.Ledger/Get", "/Config/Get", "/v1.Config/Get", "/stele.v2.Config/Get", "\\stele.v1.Config\\Get",
		"/grpc.health.v1.Health/../" + get, "grpc.health.v1.Health/Check", "/grpc.channelz.v1.Channelz/GetServers", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
		"/", "*", "", " /" + get, "/" + get + " ", "http://localhost/" + get,
	}
	for _, path := range paths {
		for _, token := range []string{token, ""} {
			status, answered := rawCall(t, f.conn.Target(), path, token)
			if status == codes.OK || answered {
				t.Errorf("%q, token %v: %s, answered %v", path, token != "", status, answered)
			}
		}
	}
	t.Logf("%d paths that are no methods, with and without a token: 0 answered", len(paths))
}

// rawCall asks for the key a and says how the call ended and whether it was
// answered. A stream or connection that is reset is Internal.
func rawCall(t *testing.T, address, path, token string) (status codes.Code, answered bool) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	fields := [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", path}, {":authority", "localhost"}, {"content-type", "application/grpc"}, {"te", "trailers"}}
	if token != "" {
		fields = append(fields, [2]string{"authorization", "Bearer " + token})
	}
	for _, f := range fields {
		enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	body, err := proto.Marshal(&stelev1.GetRequest{Key: "a"})
	if err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	framer.WriteSettings()
	framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
	framer.WriteData(1, true, append([]byte{0, 0, 0, 0, byte(len(body))}, body...))
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return codes.Internal, answered
		}
		switch frame := frame.(type) {
		case *http2.DataFrame:
			answered = answered || len(frame.Data()) > 0
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return codes.Internal, answered
		case *http2.MetaHeadersFrame:
			if !frame.StreamEnded() {
				continue
			}
			status = codes.Internal // a refusal may have no status of gRPC
			for _, f := range frame.RegularFields() {
				if f.Name == "grpc-status" {
					fmt.Sscan(f.Value, (*uint32)(&status))
				}
			}
			return status, answered
		}
	}
}
