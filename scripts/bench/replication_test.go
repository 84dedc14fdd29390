package main

import (
	"bytes"
	"io"
	"net"
	"testing"
)

func TestUpstreamsOf_IsATreeOfTwoLevels(t *testing.T) {
	for _, n := range []int{1, 6, 10, 11, 60} {
		upstreams := upstreamsOf(n)
		followers := map[int]int{}
		for i, at := range upstreams {
			if at >= i {
				t.Errorf("%d edges: edge %d starts before its upstream %d", n, i, at)
			}
			if at >= 0 && upstreams[at] != -1 {
				t.Errorf("%d edges: edge %d is on a third level", n, i)
			}
			followers[at]++
		}
		for at, f := range followers {
			if at >= 0 && f > edgesPerUpstream {
				t.Errorf("%d edges: edge %d has %d followers", n, at, f)
			}
		}
		if n == 60 && followers[-1] != 6 {
			t.Errorf("of 60 edges %d follow the core, want 6", followers[-1])
		}
	}
}

func TestByteCounter_CountsWhatTheClientReceives(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	answer := bytes.Repeat([]byte("x"), 200_000)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.ReadFull(c, make([]byte, 5))
		_, _ = c.Write(answer)
	}()
	p, err := newByteCounter(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	c, err := net.Dial("tcp", p.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, answer) {
		t.Errorf("%d bytes came through, %v", len(got), err)
	}
	if n := p.received.Load(); n != int64(len(answer)) {
		t.Errorf("%d bytes were counted, want %d", n, len(answer))
	}
}
