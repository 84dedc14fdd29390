package gateway_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelehq/stele/gateway"
	"github.com/stelehq/stele/gateway/identity"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/net/http2"
	"google.golang.org/grpc/metadata"
	"pgregory.net/rapid"
)

// However the bytes of frames come in, those that are odd are counted.
func TestOddFramesAreCounted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var wire bytes.Buffer
		wire.WriteString(http2.ClientPreface)
		f := http2.NewFramer(&wire, nil)
		want := 0
		for _, kind := range rapid.SliceOf(rapid.IntRange(0, 5)).Draw(t, "frames") {
			switch kind {
			case 0:
				f.WriteData(1, false, bytes.Repeat([]byte{3}, rapid.IntRange(0, 40_000).Draw(t, "size")))
			case 1:
				f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{3, 3, 3}})
			case 2:
				f.WriteWindowUpdate(0, 5)
			case 3:
				f.WriteRSTStream(1, http2.ErrCodeCancel)
				want++
			case 4:
				f.WriteSettings()
				want++
			case 5:
				f.WriteContinuation(1, false, []byte{3})
				want++
			}
		}
		count := gateway.CountOddFrames()
		got := 0
		for wire.Len() > 0 {
			got += count(wire.Next(rapid.IntRange(1, 20_000).Draw(t, "read")))
		}
		if got != want {
			t.Errorf("%d odd frames, want %d", got, want)
		}
	})
}

// An address that makes many connections waits, and no other does.
func TestNewConnectionsOfAnAddressArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		connect := gateway.Handshakes()
		took := func(address string, n int) time.Duration {
			t.Helper()
			begun := time.Now()
			for range n {
				ours, theirs := net.Pipe()
				if err := connect(addressed{ours, address}); err != nil {
					t.Fatal(err)
				}
				theirs.Close()
			}
			return time.Since(begun)
		}
		if d := took("10.0.0.1", 200); d > 0 {
			t.Errorf("200 connections took %s", d)
		}
		if d := took("10.0.0.1", 100); d < 1980*time.Millisecond || d > 2*time.Second {
			t.Errorf("100 more took %s, want two seconds", d)
		}
		if d := took("10.0.0.2", 200); d > 0 {
			t.Errorf("200 of another address took %s", d)
		}
		if d := took("10.0.0.1", 1); d > 20*time.Millisecond {
			t.Errorf("one more took %s", d)
		}
		var waiting []net.Conn
		refused := make(chan error, 2000)
		for range cap(refused) {
			ours, theirs := net.Pipe()
			waiting = append(waiting, theirs)
			go func() { refused <- connect(addressed{ours, "10.0.0.1"}) }()
		}
		synctest.Wait()
		time.Sleep(time.Minute)
		synctest.Wait()
		n := 0
		for range cap(refused) {
			if <-refused != nil {
				n++
			}
		}
		if n < 1450 || n > 1550 {
			t.Errorf("%d of 2000 at once were refused, want those for which there is no turn in 10 s", n)
		}
		for _, c := range waiting {
			c.Close()
		}
	})
}

// addressed is a connection from an address.
type addressed struct {
	net.Conn
	address string
}

func (a addressed) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(a.address)} }

func TestLargeHeadersEndTheCallAlone(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme", identity.Writer)
	f.commit(t, ctx, set("a", "1"))
	for _, size := range []int{1 << 10, 30 << 10, 100 << 10, 5 << 20} {
		_, err := f.config.Get(metadata.AppendToOutgoingContext(ctx, "x-large", strings.Repeat("x", size)), &stelev1.GetRequest{Key: "a"})
		if refused := err != nil; refused != (size > 64<<10) {
			t.Errorf("headers of %d bytes: %v", size, err)
		}
	}
	if _, err := f.config.Get(ctx, &stelev1.GetRequest{Key: "a"}); err != nil {
		t.Errorf("the next call: %v", err)
	}
}

// Who does not speak HTTP/2 is hung up on, and nobody waits for who says nothing.
func TestConnectionsThatSayNothingOfUse(t *testing.T) {
	f := start(t)
	for _, say := range []string{"GET / HTTP/1.1\r\n\r\n" + strings.Repeat("x", 100), strings.Repeat("\x00", 100), http2.ClientPreface + strings.Repeat("\xff", 100)} {
		c, err := net.Dial("tcp", f.conn.Target())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, say)
		c.SetReadDeadline(time.Now().Add(30 * time.Second))
		if _, err := io.Copy(io.Discard, c); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("after %q: %v", say[:10], err)
		}
	}
}
