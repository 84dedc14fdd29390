package gateway

import (
	"context"
	"slices"
	"time"

	"github.com/stelehq/stele/internal/gateway/policy"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
)

// Methods are those that the gateway serves and that need a token.
func (g *Gateway) Methods() []string {
	return slices.DeleteFunc(g.Registered(), func(name string) bool { return policy.Methods[name].Needs == policy.Public })
}

// Registered are all methods that the gateway serves.
func (g *Gateway) Registered() []string {
	var methods []string
	for service, info := range g.server.GetServiceInfo() {
		for _, m := range info.Methods {
			methods = append(methods, "/"+service+"/"+m.Name)
		}
	}
	slices.Sort(methods)
	return methods
}

// HandleGet handles a Get as the gRPC server does, from its token and the decoded request to the
// encoded answer, without a connection. It returns the size of the answer in bytes.
func (g *Gateway) HandleGet(ctx context.Context, req *stelev1.GetRequest) (int, error) {
	calls := interceptor{g}
	call, err := calls.authorizeCall(ctx, stelev1.Config_Get_FullMethodName, time.Now())
	if err != nil {
		return 0, err
	}
	answer, err := calls.unary(call, req, getInfo, func(ctx context.Context, req any) (any, error) {
		return configService{g: g}.Get(ctx, req.(*stelev1.GetRequest))
	})
	if err != nil {
		return 0, err
	}
	encoded, err := newCodec().Marshal(answer)
	defer encoded.Free()
	return encoded.Len(), err
}

var getInfo = &grpc.UnaryServerInfo{FullMethod: stelev1.Config_Get_FullMethodName}

// TakeCheck takes a slot for a check of values against schemas.
func (g *Gateway) TakeCheck(tenant, subject string) (release func(), ok bool) {
	return g.checks.Take(tenant, subject)
}

// PoliciesChanged returns a channel that is closed when the gateway has seen a change of the
// policies.
func (g *Gateway) PoliciesChanged() <-chan struct{} { return g.policy.Changed() }

// CommitStream, Watch and Follow handle a stream, without the interceptor.

func (g *Gateway) CommitStream(stream grpc.BidiStreamingServer[stelev1.CommitStreamRequest, stelev1.CommitStreamResponse]) error {
	return ledgerService{allCommits: allCommits{g}}.CommitStream(stream)
}

func (g *Gateway) Watch(stream grpc.BidiStreamingServer[stelev1.WatchRequest, stelev1.WatchResponse]) error {
	return configService{g: g}.Watch(stream)
}

func (g *Gateway) Follow(stream grpc.BidiStreamingServer[stelev1.FollowRequest, stelev1.FollowResponse]) error {
	return replicationService{g: g}.Follow(stream)
}
