// Package health has the commands that check a gateway: status, doctor and ready.
package health

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/memory"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/diagnosis"
	"github.com/stelehq/stele/internal/gateway/identity"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

func StatusCommand(c *session.Flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show gateway status and your identity",
		Args:  cobra.NoArgs,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, _ []string) error {
		st, err := s.Ledger.GetStatus(ctx, &stelev1.GetStatusRequest{})
		if err != nil {
			return err
		}
		if s.Format != output.Text {
			data, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(st)
			if err != nil {
				return err
			}
			return s.Object(json.RawMessage(data))
		}
		var head [][2]string
		if tenant := st.Principal.GetTenant(); tenant != "" {
			resp, err := s.Ledger.GetHead(ctx, &stelev1.GetHeadRequest{})
			head = headRows(tenant, resp, err)
		}
		return printStatus(s, st, head)
	})
	return cmd
}

func printStatus(s *session.Session, st *stelev1.GetStatusResponse, head [][2]string) error {
	rows := [][2]string{
		{"gateway", fmt.Sprintf("%s, version %s, with the roles %s", s.Settings.Address, st.Version, strings.Join(st.Roles, ", "))},
		{"epoch", hex.EncodeToString(st.Epoch)},
		{"started", render.Clock(st.Started)},
		{"tenants", tenantsLine(st)},
		{"journal", journalLine(st.Journal)},
	}
	rows = append(rows, render.Principal(st.Principal)...)
	rows = append(rows, head...)
	for _, c := range st.JournalCopies {
		rows = append(rows, [2]string{"scrub", copyLine(c)})
	}
	if st.MemoryUsed > 0 {
		rows = append(rows, [2]string{"memory", memoryLine(st)})
	}
	if st.Unrouted > 0 {
		rows = append(rows, [2]string{"unrouted", unrouted(st)})
	}
	if st.Ahead > 0 {
		rows = append(rows, [2]string{"ahead", output.Bad.Render(diagnosis.Ahead(st).What)})
	}
	if st.Stopped != "" {
		rows = append(rows, [2]string{"stopped", output.Bad.Render(output.Plain(st.Stopped))})
	}
	if st.ReadOnly != "" {
		rows = append(rows, [2]string{"read-only", output.Bad.Render(output.Plain(st.ReadOnly))})
	}
	for _, row := range rows {
		if err := s.Printf("%s  %s\n", output.Faint.Render(fmt.Sprintf("%-9s", row[0])), row[1]); err != nil {
			return err
		}
	}
	return printUpstreams(s, st.Upstreams)
}

// printUpstreams shows the upstreams of an edge.
func printUpstreams(s *session.Session, all []*stelev1.UpstreamStatus) error {
	if len(all) == 0 {
		return nil
	}
	if err := s.Printf("\n"); err != nil {
		return err
	}
	var rows [][]string
	for _, u := range all {
		state := "standby"
		switch {
		case u.Following:
			state = "following"
		case u.Error != "":
			state = output.Plain(u.Error)
		}
		verified := "never"
		if u.Verified != nil {
			verified = fmt.Sprintf("%s at %s", render.Clock(u.Verified), output.Count(int(u.VerifiedSize), "commit"))
		}
		rows = append(rows, []string{u.Address, verified, output.Plain(strings.Join(u.Path, " > ")), state})
	}
	return s.Table([]string{"UPSTREAM", "VERIFIED", "PATH", "STATE"}, rows, -1)
}

// tenantsLine is the number of tenants, which only operators get.
func tenantsLine(st *stelev1.GetStatusResponse) string {
	if st.Tenants == nil {
		return fmt.Sprintf("not shown: requires the role %s", identity.Operator)
	}
	return fmt.Sprint(*st.Tenants)
}

// journalLine says how far the gateway has followed the journal.
func journalLine(j *stelev1.JournalStatus) string {
	if j.GetAge() == nil {
		return fmt.Sprintf("at position %d of %d, catching up", j.GetPosition(), j.GetLastSequence())
	}
	return fmt.Sprintf("at position %d of %d, current %s ago", j.Position, j.LastSequence, j.Age.AsDuration().Round(time.Millisecond))
}

// memoryLine shows the memory that the gateway uses, and its limit.
func memoryLine(st *stelev1.GetStatusResponse) string {
	used := memory.Format(int64(st.MemoryUsed))
	if st.MemoryLimit == 0 {
		return used + ", without a limit"
	}
	return used + " of " + memory.Format(int64(st.MemoryLimit))
}

// unrouted describes keys that go to no sink.
func unrouted(st *stelev1.GetStatusResponse) string {
	what := output.Count(int(st.Unrouted), "key") + " without a route"
	if len(st.UnroutedKeys) > 0 {
		what += ", e.g. " + strings.Join(st.UnroutedKeys, " ")
	}
	return what
}

// headRows are the rows of a tenant's head, or of why it is not known: the rest of the status
// is shown also if the journal cannot be reached or written.
func headRows(tenant string, head *stelev1.GetHeadResponse, err error) [][2]string {
	if err != nil {
		return [][2]string{{"head", output.Bad.Render(output.Plain(failure.Message(err)))}}
	}
	rows := [][2]string{{"head", headLine(tenant, head)}}
	if start := head.HistoryStart; start != nil {
		rows = append(rows, [2]string{"history", fmt.Sprintf("since @%d of %s", start.Revision, render.Clock(start.Time))})
	}
	return rows
}

func headLine(tenant string, head *stelev1.GetHeadResponse) string {
	if len(head.Id) == 0 {
		return "no commits yet"
	}
	return fmt.Sprintf("%s  %s  %s", render.Revision(fmt.Sprintf("%s@%d", tenant, head.Snapshot.GetHead())), render.Clock(head.Time), hex.EncodeToString(head.Id[:8]))
}
