package gateway

import (
	"context"
	"testing"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A call that was reset before it began is neither authenticated nor answered.
func TestReceiving_ResetCallIsNotServed(t *testing.T) {
	g := interceptor{&Gateway{metrics: &metrics{}}} // nothing else is needed
	served := false
	handle := g.receiving(stelev1.Config_Get_FullMethodName, func(any, context.Context, func(any) error, grpc.UnaryServerInterceptor) (any, error) {
		served = true
		return nil, nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := handle(nil, ctx, nil, nil); status.Code(err) != codes.Canceled || served {
		t.Errorf("it was served: %t, %v", served, err)
	}
}
