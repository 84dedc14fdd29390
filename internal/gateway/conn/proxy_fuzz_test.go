package conn

import (
	"bytes"
	"io"
	"net"
	"testing"
)

// sent is a connection on which a client has sent some bytes.
type sent struct {
	net.Conn
	*bytes.Reader
}

func (s sent) Read(p []byte) (int, error) { return s.Reader.Read(p) }
func (s sent) Write([]byte) (int, error)  { return 0, io.ErrClosedPipe }

func FuzzReadProxyHeader(f *testing.F) {
	const v2 = "\r\n\r\n\x00\r\nQUIT\n"
	f.Add([]byte("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nrest"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte(v2 + "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x01\x00\x02rest"))
	f.Add([]byte(v2 + "\x20\x00\x00\x00"))
	f.Add([]byte(v2 + "\x21\x31\x00\xd8"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &Conn{Conn: sent{Reader: bytes.NewReader(data)}}
		if err := c.readProxyHeader(); err != nil {
			return
		}
		rest, err := io.ReadAll(c.buffered)
		if err != nil || !bytes.HasSuffix(data, rest) {
			t.Errorf("%q: %q follows the header, %v", data, rest, err)
		}
		if c.client == nil {
			return
		}
		if to, ok := c.client.(*net.TCPAddr); !ok || to.IP == nil {
			t.Errorf("%q: the client is %v", data, c.client)
		}
	})
}
