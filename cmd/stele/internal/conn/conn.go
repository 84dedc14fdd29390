// Package conn connects to a gateway.
package conn

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/stelehq/stele/cmd/stele/internal/certs"
	"github.com/stelehq/stele/ledger"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// maxReceive is the largest answer, in bytes: a page of values or a commit with
// room to spare.
const maxReceive = 16 << 20

// Dial makes a connection to the gateway at host:port; it is set up when first used.
// Only a gateway on this machine is called without TLS, and only if no files are given.
// token is called for every call.
func Dial(address string, files certs.Files, token func() (string, error)) (*grpc.ClientConn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", address, err)
	}
	creds := insecure.NewCredentials()
	if !Loopback(host) || files != (certs.Files{}) {
		config, err := certs.Client(files)
		if err != nil {
			return nil, fmt.Errorf("prepare TLS: %w", err)
		}
		creds = credentials.NewTLS(config)
	}
	return dial(address, creds, token)
}

// DialPlaintext is Dial without TLS, for a network that something else encrypts.
func DialPlaintext(address string, token func() (string, error)) (*grpc.ClientConn, error) {
	return dial(address, insecure.NewCredentials(), token)
}

func dial(address string, creds credentials.TransportCredentials, token func() (string, error)) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(creds),
		grpc.WithPerRPCCredentials(bearer(token)),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReceive)),
		grpc.WithUserAgent("stele"),
	)
}

// Loopback says whether a host is this machine.
func Loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// AsTenant makes calls act for the tenant, which takes an operator's token.
func AsTenant(ctx context.Context, t ledger.Tenant) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "as-tenant", string(t))
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
