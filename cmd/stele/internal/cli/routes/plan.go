package routes

import (
	"fmt"

	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/text"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// exposedWarning says how many values stay readable though their keys become secret.
func exposedWarning(p *stelev1.PlanRoutesResponse) string {
	return fmt.Sprintf("%s of %s that become secret stay in plain text in the journal, its backups, receipts and audit files:\n"+
		"replace these secrets by new ones once the routes are in force; tenant shred does not reach values from before",
		output.Count(int(p.ExposedValues), "value"), output.Count(int(p.ExposedKeys), "key"))
}

// sinkPlanLine describes the effect of new routes on a sink; empty without one.
func sinkPlanLine(p *stelev1.SinkPlan, prune bool) string {
	var line string
	add := func(n uint64, what string) {
		if n == 0 {
			return
		}
		if line != "" {
			line += ", "
		}
		line += fmt.Sprintf(what, text.Thousands(n))
	}
	if p.Kind == "eventbridge" { // it holds nothing
		return ""
	}
	add(p.Added, "%s added")
	add(p.Rewritten, "%s written again")
	switch {
	case p.Removed:
		add(p.Unrouted, "%s kept: the routes no longer have the sink")
	case prune:
		add(p.Unrouted, "%s would be deleted")
	default:
		add(p.Unrouted, "%s no longer routed there and kept (--prune deletes them)")
	}
	if line == "" {
		return ""
	}
	return fmt.Sprintf("items in %s: %s", p.Sink, line)
}
