package peer

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Echo is a bare gRPC server: the ceiling for a unary read. Its request is as
// long as a GetRequest and its answer as a GetResponse, but both are plain
// bytes.
type Echo struct{}

func (Echo) Name() string { return "echo" }

func (e Echo) Programs(dir string, free func() (string, error)) ([]Program, error) {
	addr, err := free()
	return one(e.Name(), self("echo", dir, addr), addr), err
}

const echoMethod = "/bench.Echo/Echo"

// echoService is written by hand: a service of well-known types needs no
// generated code.
var echoService = grpc.ServiceDesc{
	ServiceName: "bench.Echo",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Echo",
		Handler: func(answer any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			return answer, decode(new(wrapperspb.BytesValue))
		},
	}},
}

func serveEcho(ctx context.Context, addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	s.RegisterService(&echoService, padded(&stelev1.GetResponse{
		Entry:    &stelev1.Entry{Key: "tenantconfig/svc-0421/setting-000123", Value: string(make([]byte, 256)), Revision: 100_000},
		Snapshot: &stelev1.Snapshot{Revision: 100_000, Head: 100_000, Age: &durationpb.Duration{Nanos: 1_000_000}},
	}))
	stop := context.AfterFunc(ctx, s.Stop)
	defer stop()
	return s.Serve(l)
}

// padded is a BytesValue that takes about as many bytes as m.
func padded(m proto.Message) *wrapperspb.BytesValue {
	// Two or three bytes are its own tag and length.
	return wrapperspb.Bytes(make([]byte, proto.Size(m)-3))
}

func (Echo) Dial(ctx context.Context, _ string, addrs []string, conns int) (Client, error) {
	p, err := dialPool(addrs, conns, func(addr string) (*grpc.ClientConn, error) {
		cc, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return nil, err
		}
		if err := cc.Invoke(ctx, echoMethod, &wrapperspb.BytesValue{}, &wrapperspb.BytesValue{}); err != nil {
			return nil, errors.Join(err, cc.Close())
		}
		return cc, nil
	})
	if err != nil {
		return nil, err
	}
	return echoClient{p}, nil
}

type echoClient struct{ *pool[*grpc.ClientConn] }

func (c echoClient) Read(ctx context.Context, _, key string) (string, error) {
	var answer wrapperspb.BytesValue
	err := c.next().Invoke(ctx, echoMethod, padded(&stelev1.GetRequest{Key: key}), &answer)
	return string(answer.Value), err
}
