package gateway

import (
	"runtime"

	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/gateway/watch"
	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// codec is gRPC's protobuf codec that also sends frames, which are encoded
// already, and counts answers.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(grpcproto.Name)} }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	switch v := v.(type) {
	case watch.Frame:
		return mem.BufferSlice{mem.SliceBuffer(v.Head), mem.SliceBuffer(v.Body)}, nil
	case answer:
		b, err := c.Marshal(v.message)
		if err == nil {
			v.quota.hold(b)
		}
		return b, err
	}
	return c.CodecV2.Marshal(v)
}

// answer is a message that counts as one of its tenant's.
type answer struct {
	message any
	quota   unsent
}

// counted makes the codec count an answer if the answers of its tenant are counted.
func (g *Gateway) counted(c Caller, message any) any {
	if c.Principal == nil {
		return message
	}
	if q := g.policy.QuotaOf(c); q != nil {
		return answer{message, unsent{q}}
	}
	return message
}

// unsent counts answers on a tenant's quota until they have been sent.
type unsent struct{ *policy.Quota }

// hold charges the bytes of an answer, and counts its larger parts until they have
// been sent. gRPC does not report when it has sent parts of up to a kilobyte; the limit
// on a connection's calls bounds their total.
func (q unsent) hold(b mem.BufferSlice) {
	q.Charge(b.Len())
	for i, part := range b {
		if _, small := part.(mem.SliceBuffer); small {
			continue
		}
		h := &held{part: part, quota: q}
		// gRPC forgets the answers of a connection that breaks without freeing them.
		h.forgotten = runtime.AddCleanup(h, func(size int64) { q.Hold(-size) }, int64(part.Len()))
		q.Hold(int64(part.Len()))
		data := part.ReadOnlyData()
		b[i] = mem.NewBuffer(&data, h)
	}
}

// held is a part of an answer that has not left yet. It is the pool that the buffer
// around the part is given back to.
type held struct {
	part      mem.Buffer
	quota     unsent
	forgotten runtime.Cleanup
}

func (h *held) Put(*[]byte) {
	h.forgotten.Stop()
	h.quota.Hold(-int64(h.part.Len()))
	h.part.Free()
}

// Get is what a pool has, and nothing asks of this one.
func (h *held) Get(int) *[]byte { panic("gateway: a buffer was asked of an answer") }
