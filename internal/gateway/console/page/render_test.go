package page

import (
	"context"
	"errors"
	"net/http/httptest"
	"testing"
)

// Rendering fails when the page is too long, and when its user has left.
func TestRender_PageIsBounded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	b := &boundedPage{ctx: ctx}
	if _, err := b.Write(make([]byte, maxPage)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.WriteString("x"); err == nil {
		t.Error("a page grows beyond the longest")
	}
	cancel()
	if _, err := (&boundedPage{ctx: ctx}).WriteString("x"); !errors.Is(err, context.Canceled) {
		t.Errorf("a page without its user: %v", err)
	}
	v := &View{Site: &Site{rendering: make(chan struct{})}, Request: Request{R: httptest.NewRequestWithContext(ctx, "GET", "/", nil)}}
	if _, err := v.render(nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a user that has left while it waits: %v", err)
	}
}
