package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/stelehq/stele/scripts/bench/peer"
)

var memoryRow = row{
	name:  "memory",
	about: "resident memory after a minute of writes at full speed (4 min)",
	run:   apart([]int{100}, measureMemory, stores),
}

// memoryCallers write at full speed.
const memoryCallers = 64

func measureMemory(ctx context.Context, s *session) error {
	full := *s
	opts := *s.opts
	opts.duration = time.Duration(opts.scaled(60, 3)) * time.Second
	full.opts = &opts
	sec := section{
		"Memory under writes, " + tenancy(len(s.data.tenants)),
		fmt.Sprintf("Durable writes of one key by %d callers for %s, then the resident memory of the peer's process. Anonymous memory is the part that is not pages of files, which the kernel can drop.", memoryCallers, opts.duration),
	}
	if _, err := s.fill(ctx, s.data); err != nil {
		return err
	}
	c, err := s.dial(ctx, memoryCallers)
	if err != nil {
		return err
	}
	defer c.Close()
	w, ok := c.(peer.Writer)
	if !ok {
		return nil
	}
	sm, err := full.closedLoop(ctx, memoryCallers, func(ctx context.Context, rng *rand.Rand) error {
		return w.Write(ctx, s.data.tenant(rng), s.data.entry(rng))
	})
	if err != nil {
		return err
	}
	m, err := s.proc.Memory()
	if err != nil {
		return err
	}
	s.report.rate(sec, "writes", s.peer, sm, "", nil)
	s.report.size(sec, "resident", s.peer, m.Resident)
	s.report.size(sec, "anonymous", s.peer, m.Anonymous)
	return nil
}
