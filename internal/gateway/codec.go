package gateway

import (
	"context"
	"runtime"
	"sync/atomic"

	"github.com/stelehq/stele/internal/budget"
	"github.com/stelehq/stele/internal/gateway/conn"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/gateway/watch"
	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// codec is gRPC's protobuf codec that also sends frames, which are encoded
// already, and counts answers.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(grpcproto.Name)} }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	a, counted := v.(answer)
	if !counted {
		return c.CodecV2.Marshal(v)
	}
	if f, ok := a.message.(watch.Frame); ok {
		return a.frame(f), nil
	}
	b, err := c.CodecV2.Marshal(a.message)
	if err != nil {
		a.release(0)
		return nil, err
	}
	return a.hold(b), nil
}

// answer is a message with what it counts on until the client has received it.
type answer struct {
	message any
	quota   *policy.Quota // of its tenant; nil if the tenant does not have one
	// reserved is how many bytes of the share it has.
	share    *budget.Share
	reserved int64
	client   *conn.Conn // nil within the process
}

// largeAnswer is the size, in bytes, from which an answer needs memory of the share.
// Smaller ones are bounded by the number of calls.
const largeAnswer = 32 << 10

// counted makes the codec count an answer, which has an encoded size. It waits for memory for a
// large one; an answer that it returns must be passed to the codec.
func (g *Gateway) counted(ctx context.Context, c Caller, message proto.Message, size int64) (any, error) {
	a := answer{message: message, quota: g.policy.QuotaOf(c), share: g.cfg.Budget.Answers}
	if size >= largeAnswer {
		if err := a.share.Acquire(ctx, size); err != nil {
			return nil, err
		}
		a.reserved, a.client = size, conn.FromContext(ctx)
	} else if a.quota == nil {
		return message, nil
	}
	return a, nil
}

// release gives back what the answer counts on; size is its encoded length.
func (a answer) release(size int64) {
	if a.quota != nil {
		a.quota.Hold(-size)
	}
	if a.reserved > 0 {
		a.share.Release(a.reserved)
		a.client.Received(size)
	}
}

// hold charges the bytes of an answer, and counts its larger parts until they have
// been sent. gRPC does not report when it has sent parts of up to a kilobyte; the limit
// on a connection's calls bounds their total.
func (a answer) hold(b mem.BufferSlice) mem.BufferSlice {
	if a.quota != nil {
		a.quota.Charge(b.Len())
	}
	size := int64(0)
	for _, part := range b {
		if _, small := part.(mem.SliceBuffer); !small {
			size += int64(part.Len())
		}
	}
	if size == 0 {
		a.release(0)
		return b
	}
	if a.quota != nil {
		a.quota.Hold(size)
	}
	if a.reserved > 0 {
		a.client.Hold(size)
	}
	h := newHeld(a.client, func() {
		a.release(size)
	})
	h.parts = b
	return h.pieces(b)
}

// frame is the message of a watch. Its body has memory until the last stream has sent it.
func (a answer) frame(f watch.Frame) mem.BufferSlice {
	data := f.Body.Data()
	if a.quota != nil {
		a.quota.Charge(len(f.Head) + len(data))
	}
	b := mem.BufferSlice{mem.SliceBuffer(f.Head), mem.SliceBuffer(data)}
	if mem.IsBelowBufferPoolingThreshold(len(data)) {
		return b
	}
	f.Body.Retain()
	size := int64(len(data))
	a.client.Hold(size)
	h := newHeld(a.client, func() {
		f.Body.Release()
		a.client.Received(size)
	})
	return h.pieces(b)
}

// held is a message that has not left yet. It is the pool that the buffers around its
// pieces are given back to.
type held struct {
	parts     mem.BufferSlice // freed with the last piece
	client    *conn.Conn
	left      atomic.Int64 // pieces
	release   func()
	forgotten runtime.Cleanup
}

// newHeld calls release when the last of its pieces is given back, or forgotten: gRPC
// forgets the messages of a connection that breaks without freeing them.
func newHeld(client *conn.Conn, release func()) *held {
	h := &held{client: client, release: release}
	h.forgotten = runtime.AddCleanup(h, func(release func()) { release() }, release)
	return h
}

// piece is how many bytes the client has to receive so that it counts as one that
// receives; the last piece of a part can be longer.
const piece = 64 << 10

// pieces divides a message.
func (h *held) pieces(b mem.BufferSlice) mem.BufferSlice {
	out := make(mem.BufferSlice, 0, len(b))
	h.left.Store(1) // until all are made
	for _, part := range b {
		data := part.ReadOnlyData()
		for len(data) > 0 {
			n := piece
			if len(data) < 2*piece {
				n = len(data)
			}
			one := data[:n:n]
			if !mem.IsBelowBufferPoolingThreshold(n) {
				h.left.Add(1)
			}
			out = append(out, mem.NewBuffer(&one, h))
			data = data[n:]
		}
	}
	h.Put(nil)
	return out
}

// Put is called when a piece has been sent.
func (h *held) Put(*[]byte) {
	if h.left.Add(-1) > 0 {
		h.client.Received(0)
		return
	}
	h.forgotten.Stop()
	h.parts.Free()
	h.release()
}

// Get is what a pool has, and nothing asks of this one.
func (h *held) Get(int) *[]byte { panic("gateway: a buffer was asked of an answer") }
