package gateway

import (
	"runtime"

	"google.golang.org/grpc/mem"
)

// maxUnsent is how many bytes of answers may wait for the callers of one tenant to
// take them. gRPC keeps an answer until its client makes room for it, and asks no
// handler to wait: without a bound, one client that reads nothing could fill the
// memory with answers.
const maxUnsent = 128 << 20

// answer is a message that counts as one of its tenant's.
type answer struct {
	message any
	quota   *quota
}

// counted has the codec count an answer, where its tenant's are counted.
func (g *Gateway) counted(c caller, message any) any {
	if c.Principal == nil {
		return message
	}
	if q := g.quotaOf(c); q != nil {
		return answer{message, q}
	}
	return message
}

// hold counts the bytes of an answer, those of its larger parts until they have
// left. Of parts up to a kilobyte nobody says when they have; what there may be of
// them, the bound on a connection's calls bounds.
func (q *quota) hold(b mem.BufferSlice) {
	q.charge(b.Len())
	for i, part := range b {
		if _, small := part.(mem.SliceBuffer); small {
			continue
		}
		h := &held{part: part, quota: q}
		// gRPC forgets the answers of a connection that breaks without freeing them.
		h.forgotten = runtime.AddCleanup(h, func(size int64) { q.unsent.Add(-size) }, int64(part.Len()))
		q.unsent.Add(int64(part.Len()))
		data := part.ReadOnlyData()
		b[i] = mem.NewBuffer(&data, h)
	}
}

// held is a part of an answer that has not left yet. It is the pool that the buffer
// around the part is given back to.
type held struct {
	part      mem.Buffer
	quota     *quota
	forgotten runtime.Cleanup
}

func (h *held) Put(*[]byte) {
	h.forgotten.Stop()
	h.quota.unsent.Add(-int64(h.part.Len()))
	h.part.Free()
}

// Get is what a pool has, and nothing asks of this one.
func (h *held) Get(int) *[]byte { panic("gateway: a buffer was asked of an answer") }
