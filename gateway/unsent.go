package gateway

import (
	"runtime"

	"github.com/stelehq/stele/gateway/policy"
	"google.golang.org/grpc/mem"
)

// answer is a message that counts as one of its tenant's.
type answer struct {
	message any
	quota   unsent
}

// counted has the codec count an answer, where its tenant's are counted.
func (g *Gateway) counted(c caller, message any) any {
	if c.Principal == nil {
		return message
	}
	if q := g.policy.QuotaOf(c); q != nil {
		return answer{message, unsent{q}}
	}
	return message
}

// unsent counts answers on a tenant's quota until they have left.
type unsent struct{ *policy.Quota }

// hold counts the bytes of an answer; larger parts until they have been sent. There is
// no notification for parts up to a kilobyte; the bound on a connection's calls bounds
// them.
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

// Get returns the pool's content, without a limit here.
func (h *held) Get(int) *[]byte { panic("gateway: a buffer was asked of an answer") }
