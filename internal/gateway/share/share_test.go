package share

import (
	"fmt"
	"testing"
)

// fill takes slots until there are none, and returns how many it got.
func fill(p *Slots, tenant, subject string) (n int) {
	for {
		if _, ok := p.Take(tenant, subject); !ok {
			return n
		}
		n++
	}
}

func TestSlots_NoneKeepsOthersOut(t *testing.T) {
	p := New(900)
	if n := fill(p, "acme", "mallory"); n != 300 {
		t.Errorf("a subject alone gets %d of 900, want 300", n)
	}
	if n := fill(p, "acme", "mallet"); n != 150 {
		t.Errorf("the second subject of a tenant gets %d, want 150", n)
	}
	for i := range 100 {
		if n := fill(p, "acme", fmt.Sprint(i)); n > 0 {
			t.Errorf("a tenant gets %d more than a half of all", n)
		}
	}
	for i := range 8 { // each leaves a part of the rest to the next
		if n := fill(p, fmt.Sprint("tenant", i), "ann"); n == 0 {
			t.Errorf("tenant %d gets none", i)
		}
	}
}

func TestSlots_Release(t *testing.T) {
	p := New(3)
	first, ok := p.Take("acme", "ann")
	if !ok {
		t.Fatal("no slot")
	}
	if n := fill(p, "acme", "ann"); n != 0 {
		t.Errorf("a subject gets %d more than a third of all", n)
	}
	first()
	first()
	if _, ok := p.Take("acme", "ann"); !ok || p.free != 2 {
		t.Errorf("a slot that was returned twice: %v, %d are free", ok, p.free)
	}
	p = New(8)
	var all []func()
	for i := range 8 {
		if release, ok := p.Take(fmt.Sprint(i), "ann"); ok {
			all = append(all, release)
		}
	}
	if len(all) != 8 {
		t.Errorf("8 tenants get %d of 8 slots", len(all))
	}
	for _, release := range all {
		release()
	}
	if p.free != 8 || len(p.tenants)+len(p.subjects) != 0 {
		t.Errorf("after all were returned: %+v", p)
	}
}
