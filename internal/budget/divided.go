package budget

import (
	"context"
	"sync"
)

// Divided is a Share of which one owner, a tenant, gets at most three quarters. An owner that uses
// its part up waits for its own uses to end, and other owners do not wait behind it. Otherwise
// the requests that one tenant never sends whole would block the requests of all tenants.
type Divided struct {
	// Total is what all owners have together.
	Total *Share

	mu     sync.Mutex // guards owners
	owners map[string]*part
}

// part is the Share of an owner.
type part struct {
	*Share
	calls int // of Divided that use it now
}

// NewDivided makes a share of so many bytes.
func NewDivided(name string, size int64) *Divided {
	return &Divided{Total: NewShare(name, size), owners: make(map[string]*part)}
}

// Acquire and AcquireFirst take n bytes for an owner like the methods of a Share, or all of its part
// if that is smaller.
func (d *Divided) Acquire(ctx context.Context, owner string, n int64) error {
	return d.acquire(ctx, owner, n, true)
}

func (d *Divided) AcquireFirst(ctx context.Context, owner string, n int64) error {
	return d.acquire(ctx, owner, n, false)
}

func (d *Divided) acquire(ctx context.Context, owner string, n int64, bounded bool) error {
	n = min(n, d.Size())
	own := d.enter(owner)
	defer d.leave(owner, own)
	if err := own.acquire(ctx, n, bounded); err != nil {
		d.Total.refused.Add(own.refused.Swap(0))
		return err
	}
	err := d.Total.acquire(ctx, n, bounded)
	if err != nil {
		own.Release(n)
	}
	return err
}

// Size is the most that an owner gets, in bytes.
func (d *Divided) Size() int64 { return d.Total.size * 3 / 4 }

// Release gives back what was acquired for the owner with the same number or, if that was less
// than Size, a part of it.
func (d *Divided) Release(owner string, n int64) {
	n = min(n, d.Size())
	d.Total.Release(n)
	own := d.enter(owner)
	defer d.leave(owner, own)
	own.Release(n)
}

// enter returns the share of an owner, which is kept until leave.
func (d *Divided) enter(owner string) *part {
	d.mu.Lock()
	defer d.mu.Unlock()
	own := d.owners[owner]
	if own == nil {
		own = &part{Share: NewShare(d.Total.name+" of one tenant", d.Size())}
		own.WhenShort(d.Total.short)
		d.owners[owner] = own
	}
	own.calls++
	return own
}

func (d *Divided) leave(owner string, own *part) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if own.calls--; own.calls == 0 && own.Used() == 0 {
		delete(d.owners, owner)
	}
}
