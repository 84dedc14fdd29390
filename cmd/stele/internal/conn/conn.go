// Package conn connects to a gateway.
package conn

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/certs"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/netaddr"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

// maxReceive is the largest answer, in bytes: a page of values or a commit with
// room to spare.
const maxReceive = 16 << 20

// Dial makes a connection to one gateway, host:port; it is set up when first used. Only
// gateways on this machine are called without TLS, and only if no files are given. token
// is called for every call.
func Dial(address string, files certs.Files, token func() (string, error)) (*grpc.ClientConn, error) {
	creds, err := credentialsFor([]string{address}, files)
	if err != nil {
		return nil, err
	}
	return dial([]string{address}, creds, token)
}

// DialPlaintext is Dial without TLS, for a network that something else encrypts.
func DialPlaintext(address string, token func() (string, error)) (*grpc.ClientConn, error) {
	return dial([]string{address}, insecure.NewCredentials(), token)
}

// credentialsFor are without TLS if all gateways are on this machine.
func credentialsFor(addresses []string, files certs.Files) (credentials.TransportCredentials, error) {
	creds := insecure.NewCredentials()
	for _, address := range addresses {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("address %q: %w; write HOST:PORT, or several separated by commas", address, err)
		}
		if !netaddr.IsLoopback(host) || files != (certs.Files{}) {
			config, err := certs.Client(files)
			if err != nil {
				return nil, fmt.Errorf("prepare TLS: %w", err)
			}
			creds = credentials.NewTLS(config)
		}
	}
	return creds, nil
}

// A gateway that does not answer a ping is left: its connection is half open, or it is
// stopped. Gateways refuse pings that are more frequent than every ten seconds.
var pings = keepalive.ClientParameters{Time: 11 * time.Second, Timeout: 5 * time.Second}

// connects bounds how long one gateway is tried before the next, and the pauses.
var connects = grpc.ConnectParams{
	MinConnectTimeout: 5 * time.Second,
	Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
}

// dial connects to the first gateway that can be reached, and moves to the next one when
// the connection is lost.
func dial(addresses []string, creds credentials.TransportCredentials, token func() (string, error)) (*grpc.ClientConn, error) {
	gateways := manual.NewBuilderWithScheme("gateways")
	var state resolver.State
	for _, address := range addresses {
		// ServerName is what the certificate must be for.
		state.Addresses = append(state.Addresses, resolver.Address{Addr: address, ServerName: address})
	}
	gateways.InitialState(state)
	return grpc.NewClient("gateways:///"+addresses[0],
		grpc.WithResolvers(gateways),
		grpc.WithTransportCredentials(creds),
		grpc.WithPerRPCCredentials(bearer(token)),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReceive)),
		grpc.WithUserAgent("stele"),
		grpc.WithKeepaliveParams(pings),
		grpc.WithConnectParams(connects),
	)
}

// AsTenant makes calls act for the tenant, which takes an operator's token. It replaces the
// tenant that the context acts for.
func AsTenant(ctx context.Context, t ledger.Tenant) context.Context {
	md, _ := metadata.FromOutgoingContext(ctx) // a copy
	if md == nil {
		md = metadata.MD{}
	}
	md.Set(asTenant, string(t))
	return metadata.NewOutgoingContext(ctx, md)
}

// asTenant is the metadata that names the tenant to act for.
const asTenant = "as-tenant"

// tenantOf is the tenant that calls with the context act for; empty for the token's.
func tenantOf(ctx context.Context) ledger.Tenant {
	md, _ := metadata.FromOutgoingContext(ctx)
	if named := md.Get(asTenant); len(named) > 0 {
		return ledger.Tenant(named[0])
	}
	return ""
}

// bearer puts the token on every call.
type bearer func() (string, error)

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	token, err := b()
	if err != nil || token == "" {
		return nil, err
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

// RequireTransportSecurity is left to Dial.
func (bearer) RequireTransportSecurity() bool { return false }
