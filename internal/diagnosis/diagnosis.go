// Package diagnosis finds the problems in what gateways and sinks report of themselves, and
// says what to do about them. The command line and the console show the same.
package diagnosis

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stelehq/stele/internal/gateway/fleet"
	"github.com/stelehq/stele/internal/text"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Problem is what is wrong, and what to try.
type Problem struct{ What, Try string }

const (
	// tooOld is the age of a gateway's data above which its way to the journal is a problem.
	tooOld = 5 * time.Second
	// late is how long a change may wait for a sink.
	late = time.Minute
)

// Journal is what to look at if a gateway does not hear from the journal.
const Journal = "the gateway's connection to the journal"

// Replica returns the problem of a replica that has not caught up with the journal; nil for none.
func Replica(stopped string, j *stelev1.JournalStatus) *Problem {
	switch age := j.GetAge().AsDuration(); {
	case stopped != "":
		return &Problem{"it follows the journal no longer: " + stopped, "stele status, and an operator's decision"}
	case j.GetAge() == nil:
		return &Problem{"it has not caught up with the journal yet", "stele status, until it has caught up"}
	case age > tooOld:
		return &Problem{fmt.Sprintf("it was last known to be current %s ago", age.Round(time.Second)), Journal}
	}
	return nil
}

// Upstreams adds why an edge does not follow its upstreams to the problem of its replica.
func Upstreams(p *Problem, all []*stelev1.UpstreamStatus) *Problem {
	what := p.What
	for _, u := range all {
		if u.Error != "" {
			what += fmt.Sprintf("; upstream %s: %s", u.Address, u.Error)
		}
	}
	return &Problem{what, "the upstreams, and stele status"}
}

// Writes returns why a gateway does not accept writes; nil if it does.
func Writes(st *stelev1.GetStatusResponse) *Problem {
	switch {
	case st.ReadOnly != "":
		return &Problem{"the gateway rejects them: " + st.ReadOnly, "stele status"}
	case st.Journal.GetAge() == nil || st.Journal.Age.AsDuration() > tooOld:
		return &Problem{"unknown: the gateway does not reach the journal", Journal}
	}
	return nil
}

// unscrubbed is how long a copy of the journal may not have been read before that is a
// problem.
const unscrubbed = 3 * 24 * time.Hour

// Damaged is what to do about damage in the journal.
const Damaged = "\"Damaged journal\" in docs/operations.md; until then, do not restart the NATS server that holds it"

// Copies returns the problems of the copies of the journal, in their order.
func Copies(copies []*stelev1.JournalCopy, now time.Time) (problems []Problem) {
	for _, c := range copies {
		name := "the journal"
		if c.Server != "" {
			name = "the copy of the journal on " + c.Server
		}
		switch {
		case c.Damaged > 0:
			what := fmt.Sprintf("%s is damaged: %s", name, strings.Join(c.Findings[:min(len(c.Findings), 3)], "; "))
			if more := len(c.Findings) - 3; more > 0 {
				what += "; and " + text.Count(uint64(more), "more finding")
			}
			problems = append(problems, Problem{what, Damaged})
		case c.Error != "":
			problems = append(problems, Problem{name + " could not be compared with the tree: " + c.Error, "the NATS server, and the log of the process with the role signer"})
		case c.Completed != nil && now.Sub(c.Completed.AsTime()) > unscrubbed:
			problems = append(problems, Problem{fmt.Sprintf("%s was last compared with the tree %s ago", name, now.Sub(c.Completed.AsTime()).Round(time.Hour)), "--scrub-interval, and the log of the process with the role signer"})
		}
	}
	return problems
}

// Ahead returns the problem of tenants whose newest commits have times that are ahead; nil for none.
func Ahead(st *stelev1.GetStatusResponse) *Problem {
	if st.Ahead == 0 {
		return nil
	}
	names := strings.Join(st.AheadTenants, ", ")
	if more := st.Ahead - uint64(len(st.AheadTenants)); more > 0 {
		names += fmt.Sprintf(" and %d more", more)
	}
	return &Problem{fmt.Sprintf("the newest commits of %s have times that are ahead; writes to them are refused", names),
		"the clocks of all processes, and then stele tenant reset-clock --all --reason TEXT"}
}

// Sinks returns the problems of sinks, in their order.
func Sinks(sinks []*stelev1.SinkStatus) (problems []Problem) {
	note := func(what, try string) { problems = append(problems, Problem{what, try}) }
	for _, st := range sinks {
		drift := "stele sinks drift " + st.Name
		if st.Owner == "" {
			note("no process writes to "+st.Name, "stele serve --roles=projector, or its log")
		}
		if st.Stopped != "" {
			note(st.Name+" has stopped: "+st.Stopped, drift+", and then stele sinks adopt or stele sinks repair")
		}
		if st.Parked > 0 {
			note(fmt.Sprintf("%s has parked %s", st.Name, text.Count(uint64(st.Parked), "key")), "stele sinks parked "+st.Name)
		}
		if st.Drifted > 0 {
			note(fmt.Sprintf("%s has %s that drifted", st.Name, text.Count(uint64(st.Drifted), "item")), drift)
		}
		if st.FailingSince != nil {
			note(fmt.Sprintf("%s has failed since %s: %s", st.Name, st.FailingSince.AsTime().Format(time.RFC3339), cmp.Or(st.Failing, "operators see why")), "stele sinks")
		}
		if st.Uncompared > 0 {
			note(fmt.Sprintf("%s could not be compared with the ledger in %s", st.Name, text.Count(uint64(st.Uncompared), "place")), drift)
		}
		if lag := st.Lag.AsDuration(); lag > late {
			note(fmt.Sprintf("%s is %s and %s behind", st.Name, text.Count(st.LagRevisions, "revision"), lag.Round(time.Second)), "stele sinks")
		}
	}
	return problems
}

// Gateways returns the problems of gateways, in their order.
func Gateways(gateways []*stelev1.GatewayStatus, now time.Time) (problems []Problem) {
	for _, g := range gateways {
		name := strings.TrimSpace(g.Host + " " + g.Address)
		if silent := now.Sub(g.Seen.AsTime()); silent > fleet.Silent {
			problems = append(problems, Problem{fmt.Sprintf("%s has not reported for %s", name, silent.Round(time.Second)), "its log, unless it was shut down; it is listed for an hour"})
			continue
		}
		if p := Replica(g.Stopped, g.Journal); p != nil {
			problems = append(problems, Problem{name + ": " + p.What, p.Try})
		}
		if g.Damaged != "" {
			problems = append(problems, Problem{name + " found that the journal is damaged: " + g.Damaged, Damaged})
		}
	}
	return append(problems, Differences(gateways, now)...)
}

// Differences returns the problems of gateways that differ from each other.
func Differences(gateways []*stelev1.GatewayStatus, now time.Time) (problems []Problem) {
	versions := make(map[string]bool)
	routes := make(map[string][]string) // processes by the digest of their own routes
	for _, g := range gateways {
		if now.Sub(g.Seen.AsTime()) > fleet.Silent {
			continue
		}
		versions[g.Version] = true
		if edge := g.Subject != ""; !edge && len(g.OwnRoutes) > 0 {
			routes[string(g.OwnRoutes)] = append(routes[string(g.OwnRoutes)], strings.TrimSpace(g.Host+" "+g.Address))
		}
	}
	if len(versions) > 1 {
		problems = append(problems, Problem{fmt.Sprintf("the gateways run %d versions", len(versions)), "the upgrade of the others, if one is not under way"})
	}
	if len(routes) > 1 {
		var groups []string
		for _, names := range routes {
			groups = append(groups, strings.Join(names, " and "))
		}
		slices.Sort(groups)
		problems = append(problems, Problem{"processes have different routes of their own, so some do not know the sinks: " + strings.Join(groups, " differs from "),
			"stele routes set -f FILE, or the same --config for all processes"})
	}
	return problems
}
