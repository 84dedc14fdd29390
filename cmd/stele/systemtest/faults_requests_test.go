//go:build faults

package systemtest

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// neverEnding is calls whose requests never end.
type neverEnding struct {
	name, method string
	token        bool
	connections  int
	calls        int // of each connection
	size         int // of each request, in bytes; a little of it is not sent
	part         int // what is sent at once, in bytes
	header       int // bytes of one more header
}

const mostPart = 16 << 10 // of the frames that gRPC accepts

// TestMemory_RequestsThatNeverEnd sends requests that never end on several connections, while
// another caller reads.
func TestMemory_RequestsThatNeverEnd(t *testing.T) {
	commit, check := stelev1.Ledger_Commit_FullMethodName, grpc_health_v1.Health_Check_FullMethodName
	for _, u := range []neverEnding{
		{name: "without a token", method: commit, connections: 8, calls: 100, size: 8 << 20, part: mostPart},
		{name: "with a token", method: commit, token: true, connections: 8, calls: 100, size: 8 << 20, part: mostPart},
		{name: "a method without authentication", method: check, connections: 8, calls: 100, size: 8 << 20, part: mostPart},
		{name: "a stream", method: stelev1.Ledger_CommitStream_FullMethodName, token: true, connections: 8, calls: 100, size: 8 << 20, part: mostPart},
		{name: "in parts of one byte", method: commit, token: true, connections: 8, calls: 100, size: 8 << 20, part: 1},
		{name: "small", method: commit, token: true, connections: 20, calls: 1000, size: 32<<10 - 1, part: mostPart},
		{name: "small, in parts of one byte", method: commit, token: true, connections: 20, calls: 1000, size: 32<<10 - 1, part: 1},
		{name: "small, without authentication", method: check, connections: 20, calls: 1000, size: 4 << 10, part: 1, header: 12_000},
	} {
		t.Run(u.name, func(t *testing.T) {
			data := t.TempDir()
			g := startLimited(t, data)
			write(t, g.gateway, acme, largeKey(0), `"x"`)
			a := &attacker{address: g.address(t)}
			if u.token {
				a.token = writerToken(t, data, acme)
			}
			ctx, cancel := context.WithCancel(t.Context())
			var all sync.WaitGroup
			for range u.connections {
				all.Go(func() {
					for ctx.Err() == nil {
						a.neverEnd(ctx, u)
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
			if reads == 0 {
				t.Error("another caller read nothing")
			}
			fmt.Printf("requests that never end, %s: %d MiB sent on %d connections, %d reads of another caller (%d refused); %s\n",
				u.name, a.done.Load()>>20, u.connections, reads, retries, g.memory(t))
		})
	}
}

// neverEnd makes calls on a connection until the connection or ctx ends.
func (a *attacker) neverEnd(ctx context.Context, u neverEnding) {
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
	var more []hpack.HeaderField
	if u.header > 0 {
		more = append(more, hpack.HeaderField{Name: "x-large", Value: strings.Repeat("x", u.header), Sensitive: true})
	}
	for range u.calls {
		writing.Lock()
		err := w.call(u.method, a.token, more...)
		id := w.stream
		writing.Unlock()
		if err != nil {
			break
		}
		reading.Go(func() {
			prefix := binary.BigEndian.AppendUint32([]byte{0}, uint32(u.size))
			for rest := len(prefix) + u.size - u.size/1024 - 1; rest > 0; {
				n := f.take(id, min(rest, mostPart))
				if n == 0 {
					return
				}
				data := make([]byte, n)
				prefix = prefix[copy(data, prefix):]
				writing.Lock()
				_, err := w.Conn.Write(dataFrames(id, data, u.part))
				writing.Unlock()
				if err != nil {
					return
				}
				rest -= n
				a.done.Add(int64(n))
			}
		})
	}
	reading.Wait()
}

// dataFrames are frames of a stream that have so many bytes each.
func dataFrames(stream uint32, data []byte, part int) (frames []byte) {
	for chunk := range slices.Chunk(data, part) {
		frames = append(frames, byte(len(chunk)>>16), byte(len(chunk)>>8), byte(len(chunk)), 0, 0)
		frames = binary.BigEndian.AppendUint32(frames, stream)
		frames = append(frames, chunk...)
	}
	return frames
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
		case *http2.GoAwayFrame:
			f.ended = true
		case *http2.RSTStreamFrame, *http2.HeadersFrame: // an answer: the call was refused
			f.streams[frame.Header().StreamID] = -1 << 40
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

// TestMemory_LargeAnswers has many callers ask for 4 MB at once. Each call is answered, or refused
// for lack of memory.
func TestMemory_LargeAnswers(t *testing.T) {
	const connections, callers = 8, 500
	const period, timeout = 20 * time.Second, 30 * time.Second // of the flood, and of a call
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
		least  int // bytes of an answer
	}{
		{stelev1.Config_BatchGet_FullMethodName, encodedOf(t, &stelev1.BatchGetRequest{Keys: keys}), 4_000_000},
		{stelev1.Config_List_FullMethodName, encodedOf(t, &stelev1.ListRequest{}), 400_000},
		{stelev1.Ledger_ListCommits_FullMethodName, encodedOf(t, &stelev1.ListCommitsRequest{}), 400_000},
		{stelev1.Config_Get_FullMethodName, encodedOf(t, &stelev1.GetRequest{Key: largeKey(0)}), 400_000},
	} {
		var all sync.WaitGroup
		var answered, refused atomic.Int64
		var failed atomic.Bool
		begun := time.Now()
		for range connections {
			cc, err := a.connect()
			if err != nil {
				t.Fatal(err)
			}
			defer cc.Close()
			for range callers / connections {
				all.Go(func() {
					for time.Since(begun) < period && !failed.Load() {
						n, err := call(acting(t, acme), timeout, cc, test.method, test.req)
						switch {
						case err == nil && n >= test.least:
							answered.Add(1)
						case refusedForMemory(err):
							refused.Add(1)
							time.Sleep(100 * time.Millisecond)
						case !failed.Swap(true):
							t.Errorf("%s: an answer of %d bytes, %v", test.method, n, err)
						}
					}
				})
			}
		}
		all.Wait()
		fmt.Printf("%s: %d callers at once got %d answers in %s, %d refused; %s\n", test.method, callers, answered.Load(), time.Since(begun).Round(time.Second), refused.Load(), g.memory(t))
		if answered.Load() == 0 {
			t.Errorf("%s: no call was answered", test.method)
		}
	}
}

// call makes a call with an encoded request, and returns the length of its answer.
func call(ctx context.Context, timeout time.Duration, cc *grpc.ClientConn, method string, req []byte) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var length int
	err := cc.Invoke(ctx, method, req, &length, grpc.ForceCodecV2(counting{req}), grpc.MaxCallRecvMsgSize(64<<20))
	return length, err
}

// counting is a codec that only counts the bytes of an answer.
type counting struct{ encoded }

func (counting) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*int) = data.Len()
	return nil
}

// refusedForMemory reports whether an error is one that docs/operations.md lists for answers that do
// not fit: the share, or the tenant's part of the answers that are not received yet.
func refusedForMemory(err error) bool {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.Reason == "NO_MEMORY" || info.Reason == "OVER_LIMIT" && info.Metadata["limit"] == "unsent_bytes"
		}
	}
	return false
}
