package importcmd

import (
	"context"
	"fmt"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/changelog"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// moved lists the steps whose time in the ledger is not the time in the source.
type moved struct {
	first []string // at most mostMisfits
	count int
	step  string // the last one: a step can be several change sets
}

func (m *moved) add(line *changelog.Line) {
	if line.Step == m.step {
		return
	}
	m.step = line.Step
	if m.count++; len(m.first) < mostMisfits {
		m.first = append(m.first, fmt.Sprintf("%s of %s is written with %s",
			line.Step, line.Claimed.Format(time.RFC3339), line.ChangeSet.Import.Time.Format(time.RFC3339)))
	}
}

func (m *moved) report() {
	if m.count == 0 {
		return
	}
	fmt.Fprintf(output.Stderr, "%s not written with the time of the source:\n", output.Count(m.count, "change"))
	for _, text := range m.first {
		fmt.Fprintf(output.Stderr, "  %s\n", text)
	}
	if more := m.count - len(m.first); more > 0 {
		fmt.Fprintf(output.Stderr, "  and %d more\n", more)
	}
}

// requests returns the change sets that this caller's imports have written into a tenant.
func (i *imported) requests(ctx context.Context, t ledger.Tenant) (map[request]bool, error) {
	head, _, err := i.Head(ctx, t)
	if err != nil || head == 0 {
		return nil, err
	}
	status, err := i.Ledger.GetStatus(i.as(ctx, t), &stelev1.GetStatusRequest{})
	if err != nil {
		return nil, err
	}
	has := make(map[request]bool)
	err = (*session.Session)(i).Commits(i.as(ctx, t), &stelev1.ListCommitsRequest{OmitValues: true}, 0, func(info *stelev1.CommitInfo) error {
		if in := info.Commit.GetOrigin().GetImport(); in != nil && in.Importer == status.Principal.GetSubject() {
			has[request{info.Commit.Author, info.Commit.RequestId}] = true
		}
		return nil
	})
	return has, err
}
