package health

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/diagnosis"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// errNotScrubbed marks a ledger that does not compare its journal with the tree.
var errNotScrubbed = errors.New("not checked: no process with the role signer reports")

// checkJournal reports what the gateway found when it read the journal. The advice is for
// the first problem.
func checkJournal(ctx context.Context, p *subject) (found, try string, err error) {
	switch {
	case p.status == nil:
		return "", "", errSkipped
	case p.status.Tenants == nil:
		return "", "", errDenied // for operators only
	case len(p.status.JournalCopies) == 0:
		return checkSigners(ctx, p)
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

// checkSigners reports what other processes found.
func checkSigners(ctx context.Context, p *subject) (found, try string, err error) {
	resp, err := p.session.Ledger.ListGateways(ctx, &stelev1.ListGatewaysRequest{})
	if err != nil {
		return "", diagnosis.Journal, err
	}
	signers := slices.DeleteFunc(resp.Gateways, func(g *stelev1.GatewayStatus) bool {
		return !slices.Contains(g.Roles, node.RoleSigner) || g.Subject != ""
	})
	if len(signers) == 0 {
		return "", "", errNotScrubbed
	}
	for _, g := range signers {
		if g.Damaged != "" {
			return "", diagnosis.Damaged, errors.New(output.Plain("the journal is damaged: " + g.Damaged))
		}
	}
	return output.Count(len(signers), "signer") + " found no damage; stele status of one shows when it was looked for", "", nil
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
