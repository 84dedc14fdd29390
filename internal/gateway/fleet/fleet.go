// Package fleet knows the gateways of a ledger. The processes that follow the journal announce
// themselves to each other over NATS. Edge gateways, which have no journal, report to their
// upstreams, which announce them as well. Nothing is stored: a process that starts knows the
// others after one interval.
package fleet

import (
	"cmp"
	"slices"
	"sync"
	"time"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	// Interval is the time between two reports of a gateway.
	Interval = 10 * time.Second
	// Silent is how old a report is when its gateway is considered gone, and not passed on any
	// more.
	Silent = time.Minute
	// remembered is how long a gateway is listed that no longer reports.
	remembered = time.Hour
	// maxOfSubject and maxGateways bound the gateways that report with one token, and all.
	maxOfSubject = 100
	maxGateways  = 1000
)

// Registry has the newest report of each gateway.
type Registry struct {
	mu       sync.Mutex // guards gateways
	gateways map[place]report
}

// place is what a gateway keeps when it restarts. The subject is of the token that an edge
// replicates with, so that no edge can replace the report of another.
type place struct{ subject, host, address string }

// report is what a gateway has reported about itself.
type report struct {
	*stelev1.GatewayStatus
	seen time.Time
	// below is when the gateway, an edge, has last reported to this one, and not to another.
	below time.Time
}

// FromEdge records what an edge reports about itself and the edges below it.
func (r *Registry) FromEdge(subject string, now time.Time, reports []*stelev1.GatewayStatus) {
	for _, g := range reports[:min(len(reports), maxOfSubject)] {
		g = known(g)
		g.Subject = subject
		r.put(report{g, now, now})
	}
}

// FromPeer records what a process with the journal announces.
func (r *Registry) FromPeer(now time.Time, g *stelev1.GatewayStatus) {
	r.put(report{GatewayStatus: known(g), seen: now})
}

// known is a copy without the fields that this version does not know, which could be of any
// size.
func known(g *stelev1.GatewayStatus) *stelev1.GatewayStatus {
	out := &stelev1.GatewayStatus{
		Id: g.Id, Host: g.Host, Address: g.Address, Version: g.Version, Roles: g.Roles, Path: g.Path, Stopped: g.Stopped, Damaged: g.Damaged, Subject: g.Subject, OwnRoutes: g.OwnRoutes,
		Started: &timestamppb.Timestamp{Seconds: g.Started.GetSeconds(), Nanos: g.Started.GetNanos()},
		Journal: &stelev1.JournalStatus{Position: g.Journal.GetPosition(), LastSequence: g.Journal.GetLastSequence()},
	}
	if age := g.Journal.GetAge(); age != nil {
		out.Journal.Age = &durationpb.Duration{Seconds: age.Seconds, Nanos: age.Nanos}
	}
	return out
}

func (r *Registry) put(is report) {
	at := place{is.Subject, is.Host, is.Address}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gateways == nil {
		r.gateways = make(map[place]report)
	}
	was, again := r.gateways[at]
	if is.below.IsZero() {
		is.below = was.below
	}
	if !again {
		r.makeRoom(at.subject, is.seen)
	}
	r.gateways[at] = is
}

// makeRoom removes reports that are too old to be listed, and the oldest one if there are too many.
func (r *Registry) makeRoom(subject string, now time.Time) {
	var oldest, oldestOfSubject place
	ofSubject := 0
	older := func(a, b place) place {
		if _, set := r.gateways[b]; !set || r.gateways[a].seen.Before(r.gateways[b].seen) {
			return a
		}
		return b
	}
	for at, g := range r.gateways {
		if now.Sub(g.seen) > remembered {
			delete(r.gateways, at)
			continue
		}
		oldest = older(at, oldest)
		if at.subject == subject {
			ofSubject++
			oldestOfSubject = older(at, oldestOfSubject)
		}
	}
	switch {
	case subject != "" && ofSubject >= maxOfSubject:
		delete(r.gateways, oldestOfSubject)
	case len(r.gateways) >= maxGateways:
		delete(r.gateways, oldest)
	}
}

// Below are the edges that report to this gateway.
func (r *Registry) Below(now time.Time) []*stelev1.GatewayStatus {
	return r.list(func(g report) bool { return now.Sub(g.below) < Silent })
}

// All are the gateways that have reported within the last hour.
func (r *Registry) All(now time.Time) []*stelev1.GatewayStatus {
	return r.list(func(g report) bool { return now.Sub(g.seen) < remembered })
}

func (r *Registry) list(selected func(report) bool) []*stelev1.GatewayStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*stelev1.GatewayStatus
	for _, g := range r.gateways {
		if selected(g) {
			copied := known(g.GatewayStatus)
			copied.Seen = timestamppb.New(g.seen)
			all = append(all, copied)
		}
	}
	slices.SortFunc(all, func(a, b *stelev1.GatewayStatus) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Address, b.Address), cmp.Compare(a.Subject, b.Subject))
	})
	return all
}
