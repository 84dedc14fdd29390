package budget

import "context"

// Divided is a Share whose uses have owners, the tenants. All owners have three quarters of it
// together. The last quarter is a reserve: an owner gets bytes of it only while it holds nothing,
// and only half of what is left of it. So however much some owners hold, and however many of their
// uses wait, there is room for a use of another: while n owners hold as much as they can, half of a
// quarter of the share, divided by 2 to the power of n. A fixed part for each owner would have to be
// very small.
//
// If uses of several owners wait, the owner that holds the least comes first, so that an owner
// waits for its own uses to end and not for the uses of one that holds more. Uses of the reserve
// take nothing from the three quarters, so that many small ones do not keep a large use waiting.
type Divided struct {
	// Total is what all owners have together.
	Total *Share
}

// NewDivided makes a share of so many bytes.
func NewDivided(name string, size int64) *Divided {
	s := NewShare(name, size)
	s.common = size * 3 / 4
	return &Divided{s}
}

// Acquire and AcquireFirst take n bytes for an owner like the methods of a Share, or as much as an
// owner can have if that is less.
func (d *Divided) Acquire(ctx context.Context, owner string, n int64) error {
	return d.Total.acquire(ctx, owner, min(n, d.Size()), true)
}

func (d *Divided) AcquireFirst(ctx context.Context, owner string, n int64) error {
	return d.Total.acquire(ctx, owner, min(n, d.Size()), false)
}

// Size is the most that one use gets, in bytes.
func (d *Divided) Size() int64 { return d.Total.common }

// Release gives back what was acquired for the owner with the same number or, if that was less
// than Size, a part of it.
func (d *Divided) Release(owner string, n int64) { d.Total.release(owner, min(n, d.Size())) }
