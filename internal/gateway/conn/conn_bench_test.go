package conn

import (
	"bytes"
	"context"
	"net"
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/peer"
)

// onlyBytes is a connection with the frames of a unary call to read, again and again.
type onlyBytes struct {
	net.Conn
	frames []byte
}

func (c *onlyBytes) Read(p []byte) (int, error)  { return copy(p, c.frames), nil }
func (c *onlyBytes) Write(p []byte) (int, error) { return len(p), nil }

// unaryCall are the frames that a client sends for a call, and the frames of the
// answer.
func unaryCall() (request, answer []byte) {
	frames := func(heads, data int) []byte {
		var b bytes.Buffer
		f := http2.NewFramer(&b, nil)
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: make([]byte, heads), EndHeaders: true})
		f.WriteData(1, false, make([]byte, data))
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: make([]byte, 4), EndHeaders: true, EndStream: true})
		return b.Bytes()
	}
	return frames(40, 50), frames(10, 300)
}

// BenchmarkCall measures what the limits add to a unary call: "none" is a bare
// connection, "counted" is one of a Limiter.
func BenchmarkCall(b *testing.B) {
	request, answer := unaryCall()
	buf := make([]byte, 32<<10)
	bare := &onlyBytes{frames: request}
	b.Run("none", func(b *testing.B) {
		var c net.Conn = bare
		for b.Loop() {
			c.Read(buf)
			c.Write(answer)
		}
	})
	b.Run("counted", func(b *testing.B) {
		l := New(Config{}, discard)
		limited := &Conn{Conn: bare, l: l}
		ctx := context.WithValue(peer.NewContext(b.Context(), &peer.Peer{AuthInfo: connInfo{conn: limited}}), key{}, 1)
		var c net.Conn = limited
		for b.Loop() {
			c.Read(buf)
			l.tapHandle(ctx, nil)
			FromContext(ctx).Authenticated("acme")
			FromContext(ctx).Answered()
			c.Write(answer)
		}
	})
}

type key struct{}
