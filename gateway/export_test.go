package gateway

import (
	"net"
	"slices"

	"github.com/stelehq/stele/gateway/policy"
	"golang.org/x/net/http2"
	"google.golang.org/grpc/credentials/insecure"
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

// CountOddFrames counts them in what is read from one connection, piece by piece.
func CountOddFrames() func([]byte) int {
	return (&frames{skip: len(http2.ClientPreface)}).odd
}

// Handshakes lets connections in, one by one.
func Handshakes() func(net.Conn) error {
	d := newDoor(insecure.NewCredentials())
	return func(c net.Conn) error {
		_, _, err := d.ServerHandshake(c)
		return err
	}
}
