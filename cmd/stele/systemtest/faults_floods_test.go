//go:build faults

package systemtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/certs"
	"github.com/stelehq/stele/cmd/stele/internal/conn"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// The flooder's values: together more than the gateway may hold of answers to it.
const (
	largeKeys  = 40
	largeValue = 500_000
)

func largeKey(i int) string { return fmt.Sprintf("tenantconfig/large/%02d", i) }

// attacker is what a flood has to work with.
type attacker struct {
	address, token string
	done           atomic.Int64 // times that it has done what it does
}

// flooding is a way to flood.
type flooding struct {
	name string
	// run does it until ctx ends. Nothing that the gateway does to a connection is an
	// error there.
	run    func(*attacker, context.Context)
	counts string // what done is the number of
}

var floods = []flooding{
	{"resets", resets, "calls sent with their reset, 8 connections"},
	{"connections", connections, "connections made, 2,000 at a time"},
	{"headers", endlessHeaders, "MiB of headers without end, 8 connections at a time"},
	{"messages", messages, "messages of 16 MB refused, 8 connections"},
	{"readers", slowReaders, "calls of 200 connections that take no answers"},
	{"limits", overLimits, "calls refused, 64 callers of a tenant over its limits"},
}

const floodEnv = "STELE_FAULTS_FLOOD_CLIENT"

// TestFlood is the process of a flood; see startFlood.
func TestFlood(t *testing.T) {
	name := os.Getenv(floodEnv)
	i := slices.IndexFunc(floods, func(f flooding) bool { return f.name == name })
	if i < 0 {
		t.Skip("it is run by TestFloods_NeighborIsServed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // if it is not ended before
	defer cancel()
	a := &attacker{address: os.Getenv(floodEnv + "_ADDRESS"), token: os.Getenv(floodEnv + "_TOKEN")}
	go floods[i].run(a, ctx)
	for ctx.Err() == nil {
		time.Sleep(100 * time.Millisecond)
		fmt.Printf("report: %d %s\n", a.done.Load(), floods[i].counts)
	}
}

// each runs as many at a time until ctx ends.
func each(ctx context.Context, n int, run func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			for ctx.Err() == nil {
				run(i)
			}
		})
	}
	all.Wait()
}

// rawConn is a connection that sends arbitrary bytes.
type rawConn struct {
	net.Conn
	*http2.Framer
	headers bytes.Buffer
	encoder *hpack.Encoder
	stream  uint32 // the last that was begun
}

// dial makes a connection that ends with ctx. Its input is discarded, if it is read at
// all.
func (a *attacker) dial(ctx context.Context, read bool) (*rawConn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}} // not the other tenant's
	c, err := d.DialContext(ctx, "tcp", a.address)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { c.Close() })
	w := &rawConn{Conn: c, Framer: http2.NewFramer(c, c)}
	w.encoder = hpack.NewEncoder(&w.headers)
	_, err = io.WriteString(c, http2.ClientPreface)
	if err = errors.Join(err, w.WriteSettings()); err != nil {
		c.Close()
		return nil, err
	}
	if read {
		go io.Copy(io.Discard, c)
	}
	return w, nil
}

// call begins one, with more headers than usual.
func (w *rawConn) call(method, token string, more ...hpack.HeaderField) error {
	w.headers.Reset()
	for _, h := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", method}, {":authority", "stele"},
		{"content-type", "application/grpc"}, {"te", "trailers"}, {"authorization", "Bearer " + token},
	} {
		w.encoder.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
	}
	for _, h := range more {
		w.encoder.WriteField(h)
	}
	if w.stream++; w.stream > 1 { // a client's streams have odd numbers
		w.stream++
	}
	return w.WriteHeaders(http2.HeadersFrameParam{StreamID: w.stream, BlockFragment: w.headers.Bytes(), EndHeaders: true})
}

// send sends a call's message.
func (w *rawConn) send(m proto.Message, end bool) error {
	body, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	head := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body)))
	return w.WriteData(w.stream, end, append(head, body...))
}

func resets(a *attacker, ctx context.Context) {
	each(ctx, 8, func(int) {
		w, err := a.dial(ctx, true)
		if err != nil {
			return
		}
		defer w.Close()
		for {
			if w.call(stelev1.Config_Get_FullMethodName, a.token) != nil || w.send(&stelev1.GetRequest{Key: largeKey(0)}, true) != nil ||
				w.WriteRSTStream(w.stream, http2.ErrCodeCancel) != nil {
				return
			}
			a.done.Add(1)
		}
	})
}

func connections(a *attacker, ctx context.Context) {
	each(ctx, 2000, func(int) {
		w, err := a.dial(ctx, true)
		if err != nil {
			return
		}
		defer w.Close()
		a.done.Add(1)
		select {
		case <-time.After(2 * time.Second): // and makes another
		case <-ctx.Done():
		}
	})
}

func endlessHeaders(a *attacker, ctx context.Context) {
	var sent atomic.Int64
	each(ctx, 8, func(int) {
		w, err := a.dial(ctx, true)
		if err != nil {
			return
		}
		defer w.Close()
		w.encoder.WriteField(hpack.HeaderField{Name: "x-large", Value: strings.Repeat("x", 12_000), Sensitive: true})
		if w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: w.headers.Bytes()}) != nil {
			return
		}
		for w.WriteContinuation(1, false, w.headers.Bytes()) == nil {
			a.done.Store(sent.Add(int64(w.headers.Len())) >> 20)
		}
	})
}

func messages(a *attacker, ctx context.Context) {
	sent := encoded(bytes.Repeat([]byte{'x'}, 16<<20))
	each(ctx, 8, func(int) {
		cc, err := a.connect()
		if err != nil {
			return
		}
		defer cc.Close()
		for ctx.Err() == nil {
			err := cc.Invoke(ctx, stelev1.Ledger_Commit_FullMethodName, sent, nil, grpc.ForceCodecV2(sent), grpc.MaxCallSendMsgSize(64<<20))
			if status.Code(err) == codes.ResourceExhausted {
				a.done.Add(1)
			}
		}
	})
}

// encoded is a codec that sends the same bytes for whatever it is given: to encode
// them each time would cost the machine more than the gateway.
type encoded []byte

func (e encoded) Marshal(any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(e)}, nil
}
func (e encoded) Unmarshal(mem.BufferSlice, any) error { return nil }
func (e encoded) Name() string                         { return "proto" }

func (a *attacker) connect() (*grpc.ClientConn, error) {
	return conn.Dial(a.address, certs.Files{}, func() (string, error) { return a.token, nil })
}

// slowReaders ask for much on connections that are read and given no room, or that
// are not even read.
func slowReaders(a *attacker, ctx context.Context) {
	var keys []string
	for i := range 15 {
		keys = append(keys, largeKey(i))
	}
	each(ctx, 200, func(i int) {
		w, err := a.dial(ctx, i%2 == 0)
		if err != nil {
			return
		}
		defer w.Close()
		for range 100 {
			switch i % 4 {
			case 0, 1:
				err = w.call(stelev1.Config_BatchGet_FullMethodName, a.token)
				if err == nil {
					err = w.send(&stelev1.BatchGetRequest{Keys: keys}, true)
				}
			case 2:
				err = w.call(stelev1.Config_List_FullMethodName, a.token)
				if err == nil {
					err = w.send(&stelev1.ListRequest{}, true)
				}
			case 3:
				err = w.call(stelev1.Config_Watch_FullMethodName, a.token)
				if err == nil {
					err = w.send(&stelev1.WatchRequest{Request: &stelev1.WatchRequest_Create{Create: &stelev1.CreateWatch{Id: 1, Prefixes: []string{""}, InitialState: true}}}, false)
				}
			}
			if err != nil {
				return
			}
			a.done.Add(1)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
				return
			}
		}
		<-ctx.Done()
	})
}

func overLimits(a *attacker, ctx context.Context) {
	cc, err := a.connect()
	if err != nil {
		return
	}
	defer cc.Close()
	client := stelev1.NewConfigClient(cc)
	each(ctx, 64, func(int) {
		if _, err := client.Get(ctx, &stelev1.GetRequest{Key: largeKey(0)}); status.Code(err) == codes.ResourceExhausted {
			a.done.Add(1)
		}
	})
}
