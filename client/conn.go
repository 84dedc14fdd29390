package client

import (
	"context"
	"net"
	"time"

	"github.com/stelehq/stele/internal/netaddr"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
)

const (
	// maxReceive is the largest answer, in bytes: a page of state or a commit with
	// room to spare.
	maxReceive = 32 << 20
	// connectTimeout bounds how long a gateway may take to answer its first call.
	connectTimeout = 5 * time.Second
)

// dial makes a connection to a gateway; it is set up when first used.
func (cfg *Config) dial(address string) (*grpc.ClientConn, error) {
	host, _, _ := net.SplitHostPort(address)
	creds := credentials.NewTLS(cfg.TLS)
	if cfg.TLS == nil && (cfg.Plaintext || netaddr.IsLoopback(host)) {
		creds = insecure.NewCredentials()
	}
	return grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(creds),
		grpc.WithPerRPCCredentials(bearer(cfg.Token)),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReceive), grpc.MaxCallSendMsgSize(maxReceive)),
		grpc.WithUserAgent("stele-client"),
		// The client has its own backoff; a connection's is shorter.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 2, Jitter: 0.5, MaxDelay: 2 * time.Second},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}),
	)
}

// forTenant names the tenant, which must be the token's unless it is an operator's
// token.
func (cfg *Config) forTenant(ctx context.Context) context.Context {
	if cfg.Tenant == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "as-tenant", cfg.Tenant)
}

// bearer puts the token on every call.
type bearer TokenSource

func (b bearer) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := b(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

// RequireTransportSecurity is left to dial.
func (bearer) RequireTransportSecurity() bool { return false }
