package bridge

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"

	"github.com/stelehq/stele/internal/netaddr"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// instances returns a call for each address of the host: a service keeps settings
// in the memory of every instance. Hosts with addresses of both kinds are called
// by IPv4, so that no instance is called twice.
func (b *Bridge) instances(ctx context.Context, u *url.URL, req *stelev1.RefreshRequest) ([]call, error) {
	addresses, err := b.lookup(ctx, "ip", u.Hostname())
	if err != nil {
		return nil, err
	}
	if v4 := func(a netip.Addr) bool { return a.Unmap().Is4() }; slices.ContainsFunc(addresses, v4) {
		addresses = slices.DeleteFunc(addresses, func(a netip.Addr) bool { return !v4(a) })
	}
	calls := make([]call, len(addresses))
	for i, a := range addresses {
		address := net.JoinHostPort(a.Unmap().String(), u.Port())
		calls[i] = call{fmt.Sprintf("%s at %s", u, address), func(ctx context.Context) error {
			conn, err := dial(address, u.Hostname())
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = stelev1.NewCacheRefreshClient(conn).Refresh(bearer(ctx, b.secret), req)
			return err
		}}
	}
	return calls, nil
}

// dial makes a connection for one event: Lambda stops the process between events, and a
// connection may be dead when it continues. Only a host on this machine is called
// without TLS.
func dial(address, host string) (*grpc.ClientConn, error) {
	creds := credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12, ServerName: host})
	if netaddr.IsLoopback(host) {
		creds = insecure.NewCredentials()
	}
	return grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(creds), grpc.WithUserAgent("stele-lambda"))
}

func bearer(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}
