package health

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/diagnosis"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// errNotScrubbed marks a gateway that does not compare the journal with the tree.
var errNotScrubbed = errors.New("not checked: this gateway does not have the role signer, or --scrub-interval is 0")

// checkJournal reports what the gateway found when it read the journal. The advice is for
// the first problem.
func checkJournal(_ context.Context, p *subject) (found, try string, err error) {
	switch {
	case p.status == nil:
		return "", "", errSkipped
	case p.status.Tenants == nil:
		return "", "", errDenied // for operators only
	case len(p.status.JournalCopies) == 0:
		return "", "", errNotScrubbed
	}
	if problems := diagnosis.Copies(p.status.JournalCopies, time.Now()); len(problems) > 0 {
		var wrong []string
		for _, problem := range problems {
			wrong = append(wrong, output.Plain(problem.What))
		}
		return "", problems[0].Try, errors.New(strings.Join(wrong, "; "))
	}
	var copies []string
	for _, c := range p.status.JournalCopies {
		copies = append(copies, copyLine(c))
	}
	return strings.Join(copies, "; "), "", nil
}

// copyLine says when a copy of the journal was compared, and with what result.
func copyLine(c *stelev1.JournalCopy) string {
	line := "not compared with the tree yet"
	if c.Completed != nil {
		line = fmt.Sprintf("%s compared with the tree %s ago, none damaged", output.Count(int(c.Messages), "message"), time.Since(c.Completed.AsTime()).Round(time.Second))
	}
	switch {
	case c.Damaged > 0:
		line = output.Bad.Render(output.Count(int(c.Damaged), "damaged message") + ": " + output.Plain(strings.Join(c.Findings, "; ")))
	case c.Error != "":
		line = output.Bad.Render(output.Plain("not compared: " + c.Error))
	}
	if c.Server == "" {
		return line
	}
	return output.Plain(c.Server) + ": " + line
}
