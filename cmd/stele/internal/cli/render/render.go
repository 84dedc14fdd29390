// Package render turns commits, entries and differences into text for terminals and into
// the objects that -o json and -o yaml print.
package render

import (
	"fmt"
	"strings"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/output"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// RFC3339 is a time for programs, with fractions of a second; empty if there is none.
func RFC3339(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().Format(time.RFC3339Nano)
}

// Clock is a time for users; fractions of a second are for programs.
func Clock(t *timestamppb.Timestamp) string { return t.AsTime().Format(time.RFC3339) }

// Revision renders text in the color of revisions.
func Revision(s string) string { return output.Revision.Render(s) }

// Nothing says that nothing was written. Programs see it by the lack of a
// result.
func Nothing(s *output.Printer, why string) error {
	if s.Format != "text" {
		return nil
	}
	return s.Printf("%s\n", why)
}

// Principal returns the rows that describe a caller. Each part has a row of its own, because
// a subject can contain any text, for example the name of a role.
func Principal(p *stelev1.Principal) [][2]string {
	rows := [][2]string{{"subject", output.Plain(p.GetSubject())}}
	if p.GetTenant() != "" {
		rows = append(rows, [2]string{"tenant", p.Tenant})
	}
	if len(p.GetRoles()) > 0 {
		rows = append(rows, [2]string{"roles", strings.Join(p.Roles, ", ")})
	}
	if len(p.GetPrefixes()) > 0 {
		rows = append(rows, [2]string{"prefixes", strings.Join(p.Prefixes, ", ")})
	}
	if p.GetExpires() != nil {
		rows = append(rows, [2]string{"expires", Clock(p.Expires)})
	}
	return rows
}

// Tally says in words how many keys are set and deleted.
func Tally(set, deleted int) string {
	switch {
	case deleted == 0:
		return output.Count(set, "key") + " set"
	case set == 0:
		return output.Count(deleted, "key") + " deleted"
	default:
		return fmt.Sprintf("%s set, %d deleted", output.Count(set, "key"), deleted)
	}
}

// WarnRefusals warns of keys that a sink would reject.
func WarnRefusals(refusals []*stelev1.SinkRefusal) {
	for _, r := range refusals {
		output.Warn(fmt.Sprintf("the sink %s would reject %s: %s", r.Sink, r.Key, output.Plain(r.Reason)))
	}
}
