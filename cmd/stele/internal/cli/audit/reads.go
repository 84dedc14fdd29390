package audit

import (
	"cmp"
	"context"
	"path"
	"strings"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func auditReadsCommand(c *session.Flags) *cobra.Command {
	var since, until string
	var most int
	cmd := &cobra.Command{
		Use:   "reads",
		Short: "List recorded reads, newest first",
		Long: `List the reads that the tenant's policy has recorded, newest first: who asked
for which keys and prefixes, when, and of which revision the answer was. An
answer without a revision was an error, for example that a key is not set. Reads
that reveal secrets are always recorded, also without a policy.

An operator sets the policy of a tenant, prefix by prefix; it applies from the
next read on:

  stele -t _system set policy/acme/reads '{"record":["paramconfig/secrets/"]}'`,
		Example: `  stele audit reads --since 2d
  stele audit reads --since 2025-03-04 --until 2025-03-05 -n 0 -o json`,
		Args: cobra.NoArgs,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, _ []string) error {
		req := &stelev1.ListReadsRequest{}
		var err error
		if req.Since, err = session.TimeFlag("since", since); err != nil {
			return err
		}
		if req.Until, err = session.TimeFlag("until", until); err != nil {
			return err
		}
		newest, more, err := newestReads(ctx, s, req, most)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, r := range newest {
			if s.Format != output.Text {
				if err := s.Object(readObject(r)); err != nil {
					return err
				}
				continue
			}
			revision := "-"
			if r.Revision > 0 {
				revision = render.Revision(ledger.Revision(r.Revision).String())
			}
			method := path.Base(r.Method)
			if r.Revealed {
				method += " --reveal"
			}
			rows = append(rows, []string{
				output.Faint.Render(render.Clock(r.Time)), roles(r), output.Plain(r.Subject), method, revision, output.Plain(strings.Join(asked(r), " ")),
			})
		}
		if len(rows) == 0 {
			return nil
		}
		if err := s.Table([]string{"TIME", "ROLES", "SUBJECT", "METHOD", "REVISION", "WHAT"}, rows, 5); err != nil || !more {
			return err
		}
		return s.Printf("%s\n", output.Faint.Render("there are older ones: --until an earlier time, or -n 0 for all"))
	})
	flags := cmd.Flags()
	flags.StringVar(&since, "since", "", "only reads not before this time, e.g. 2h (ago) or 2025-03-04T08:00Z")
	flags.StringVar(&until, "until", "", "only reads before this time")
	flags.IntVarP(&most, "number", "n", 100, "how many at most; 0 for all")
	return cmd
}

// newestReads returns the newest reads that the request selects, newest first, at most
// so many (0 for all), and whether there are older ones.
func newestReads(ctx context.Context, s *session.Session, req *stelev1.ListReadsRequest, most int) (newest []*stelev1.ReadRecord, more bool, err error) {
	for {
		req.PageSize = 1000
		if most > 0 {
			req.PageSize = uint32(min(most-len(newest), 1000))
		}
		resp, err := s.Ledger.ListReads(ctx, req)
		if err != nil {
			return nil, false, err
		}
		newest = append(newest, resp.Reads...)
		req.PageToken = resp.NextPageToken
		if req.PageToken == "" || most > 0 && len(newest) >= most {
			return newest, req.PageToken != "", nil
		}
	}
}

// roles are the roles that the caller had. They come before the subject, which can
// contain any text.
func roles(r *stelev1.ReadRecord) string {
	return cmp.Or(output.Plain(strings.Join(r.Roles, ",")), "-")
}

// asked is the requested keys and prefixes in the usual notation, prefixes with a star.
func asked(r *stelev1.ReadRecord) []string {
	what := r.Keys
	for _, p := range r.Prefixes {
		key, below := ledger.Pattern(p).Split()
		if key != "" {
			what = append(what, string(key))
		}
		what = append(what, string(below)+"*")
	}
	return what
}

type recordedRead struct {
	Time     string   `json:"time"`
	Subject  string   `json:"subject"`
	Roles    []string `json:"roles"`
	Method   string   `json:"method"`
	Keys     []string `json:"keys,omitempty"`
	Prefixes []string `json:"prefixes,omitempty"`
	Revision uint64   `json:"revision,omitempty"`
	Revealed bool     `json:"revealed,omitempty"`
}

func readObject(r *stelev1.ReadRecord) recordedRead {
	return recordedRead{
		Time: render.RFC3339(r.Time), Subject: r.Subject, Roles: r.Roles, Method: r.Method,
		Keys: r.Keys, Prefixes: r.Prefixes, Revision: r.Revision, Revealed: r.Revealed,
	}
}
