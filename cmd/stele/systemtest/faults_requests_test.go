//go:build faults

package systemtest

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// TestMemory_RequestsThatNeverEnd sends requests of almost 8 MiB that never end, on several
// connections, while another caller reads.
func TestMemory_RequestsThatNeverEnd(t *testing.T) {
	const connections, calls = 8, 100
	for _, test := range []struct {
		name, method string
		token        bool
	}{
		{"without a token", stelev1.Ledger_Commit_FullMethodName, false},
		{"with a token", stelev1.Ledger_Commit_FullMethodName, true},
		{"a method without authentication", grpc_health_v1.Health_Check_FullMethodName, false},
		{"a stream", stelev1.Ledger_CommitStream_FullMethodName, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			data := t.TempDir()
			g := startLimited(t, data)
			write(t, g.gateway, acme, largeKey(0), `"x"`)
			a := &attacker{address: g.address(t)}
			if test.token {
				a.token = writerToken(t, data, acme)
			}
			ctx, cancel := context.WithCancel(t.Context())
			var all sync.WaitGroup
			for range connections {
				all.Go(func() {
					for ctx.Err() == nil {
						a.unfinished(ctx, test.method, calls)
					}
				})
			}
			reads, retries := 0, 0
			for begun := time.Now(); time.Since(begun) < 20*time.Second && !t.Failed(); time.Sleep(50 * time.Millisecond) {
				_, err := g.config.Get(acting(t, acme), &stelev1.GetRequest{Key: largeKey(0)})
				switch {
				case err == nil:
					reads++
				case status.Code(err) == codes.ResourceExhausted:
					retries++
				default:
					t.Errorf("another caller's read: %v", err)
				}
			}
			cancel()
			all.Wait()
			fmt.Printf("requests that never end, %s: %d MiB sent on %d connections, %d reads of another caller (%d refused); %s\n",
				test.name, a.done.Load()>>20, connections, reads, retries, g.memory(t))
		})
	}
}

// unfinished makes calls on a connection, each with a message that lacks its end, until the
// connection or ctx ends.
func (a *attacker) unfinished(ctx context.Context, method string, calls int) {
	const size = 8<<20 - 1<<10
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := a.dial(ctx, false)
	if err != nil {
		return
	}
	defer w.Close()
	f := flow{conn: 65535, streams: make(map[uint32]int)}
	f.changed.L = &f.mu
	var writing sync.Mutex // guards w
	var reading sync.WaitGroup
	reading.Go(func() {
		defer cancel()
		f.read(w.Framer, func(frame http2.Frame) {
			writing.Lock()
			defer writing.Unlock()
			switch frame := frame.(type) {
			case *http2.SettingsFrame:
				if !frame.IsAck() {
					w.WriteSettingsAck()
				}
			case *http2.PingFrame:
				if !frame.IsAck() {
					w.WritePing(true, frame.Data)
				}
			}
		})
	})
	context.AfterFunc(ctx, f.end)
	for range calls {
		writing.Lock()
		err := w.call(method, a.token)
		id := w.stream
		writing.Unlock()
		if err != nil {
			break
		}
		reading.Go(func() {
			rest := size - 1
			data := binary.BigEndian.AppendUint32([]byte{0}, size)
			data = append(data, make([]byte, 16<<10-len(data))...)
			for rest > 0 {
				n := f.take(id, min(rest, len(data)))
				if n == 0 {
					return
				}
				writing.Lock()
				err := w.WriteData(id, false, data[:n])
				writing.Unlock()
				if err != nil {
					return
				}
				data = make([]byte, 16<<10)
				rest -= n
				a.done.Add(int64(n))
			}
		})
	}
	reading.Wait()
}

// flow is how much a client may send (RFC 9113, section 5.2).
type flow struct {
	mu      sync.Mutex
	changed sync.Cond
	conn    int
	first   int // of a stream that begins
	streams map[uint32]int
	ended   bool
}

func (f *flow) read(from *http2.Framer, answer func(http2.Frame)) {
	defer f.end()
	for {
		frame, err := from.ReadFrame()
		if err != nil {
			return
		}
		f.mu.Lock()
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if n, ok := frame.Value(http2.SettingInitialWindowSize); ok {
				f.first = int(n)
			}
		case *http2.WindowUpdateFrame:
			if frame.StreamID == 0 {
				f.conn += int(frame.Increment)
			} else {
				f.streams[frame.StreamID] += int(frame.Increment)
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			f.ended = true
		case *http2.HeadersFrame: // an answer: the call was refused
			f.streams[frame.StreamID] = -1 << 40
		}
		f.changed.Broadcast()
		f.mu.Unlock()
		answer(frame)
	}
}

// take waits until bytes of a stream may be sent; 0 if none will be.
func (f *flow) take(stream uint32, most int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		n := min(most, f.conn, f.first+f.streams[stream])
		switch {
		case f.ended || f.streams[stream] < -1<<30:
			return 0
		case n > 0:
			f.conn -= n
			f.streams[stream] -= n
			return n
		}
		f.changed.Wait()
	}
}

func (f *flow) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	f.changed.Broadcast()
}

func encodedOf(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestMemory_LargeAnswers has many callers ask for 4 MB at once.
func TestMemory_LargeAnswers(t *testing.T) {
	const connections, callers = 8, 500
	data := t.TempDir()
	g := startLimited(t, data)
	var keys []string
	for i := range 10 {
		write(t, g.gateway, acme, largeKey(i), `"`+strings.Repeat("x", 400_000)+`"`)
		keys = append(keys, largeKey(i))
	}
	a := &attacker{address: g.address(t), token: writerToken(t, data, acme)}
	for _, test := range []struct {
		method string
		req    []byte
	}{
		{stelev1.Config_BatchGet_FullMethodName, encodedOf(t, &stelev1.BatchGetRequest{Keys: keys})},
		{stelev1.Config_List_FullMethodName, encodedOf(t, &stelev1.ListRequest{})},
		{stelev1.Ledger_ListCommits_FullMethodName, encodedOf(t, &stelev1.ListCommitsRequest{})},
		{stelev1.Config_Get_FullMethodName, encodedOf(t, &stelev1.GetRequest{Key: largeKey(0)})},
	} {
		ctx, cancel := context.WithTimeout(acting(t, acme), 20*time.Second)
		var all sync.WaitGroup
		var answered, refused atomic.Int64
		var failed atomic.Bool
		for range connections {
			cc, err := a.connect()
			if err != nil {
				t.Fatal(err)
			}
			defer cc.Close()
			for range callers / connections {
				all.Go(func() {
					for ctx.Err() == nil && !failed.Load() {
						err := cc.Invoke(ctx, test.method, test.req, test.req, grpc.ForceCodecV2(encoded(test.req)), grpc.MaxCallRecvMsgSize(64<<20))
						switch {
						case err == nil:
							answered.Add(1)
						case status.Code(err) == codes.ResourceExhausted:
							refused.Add(1)
							time.Sleep(100 * time.Millisecond)
						case ctx.Err() == nil && !failed.Swap(true):
							t.Errorf("%s: %v", test.method, err)
						}
					}
				})
			}
		}
		all.Wait()
		cancel()
		fmt.Printf("%s: %d callers at once got %d answers in 20 s, %d refused; %s\n", test.method, callers, answered.Load(), refused.Load(), g.memory(t))
	}
}
