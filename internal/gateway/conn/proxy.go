package conn

import (
	"bufio"
	"fmt"
	"net"

	proxyproto "github.com/pires/go-proxyproto"
)

// readProxyHeader reads the PROXY header with which the connection must begin. A header
// that names no client, as a load balancer sends for its health checks, leaves the
// address as it is.
func (c *Conn) readProxyHeader() error {
	r := bufio.NewReaderSize(c.Conn, 256)
	header, err := proxyproto.Read(r)
	if err != nil {
		return fmt.Errorf("read PROXY header: %w", err)
	}
	c.buffered = r
	if header.Command.IsLocal() {
		return nil
	}
	client, ok := header.SourceAddr.(*net.TCPAddr)
	if !ok {
		return fmt.Errorf("read PROXY header: the client's address is not of TCP: %v", header.SourceAddr)
	}
	c.client = client
	return nil
}
