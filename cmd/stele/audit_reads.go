package main

import (
	"context"
	"path"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/moment"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func auditReadsCommand(c *cli) *cobra.Command {
	var since, until string
	var most int
	cmd := &cobra.Command{
		Use:   "reads",
		Short: "List the reads that the tenant's policy has recorded, oldest first",
		Long: `List the reads that the tenant's policy has recorded, oldest first: who asked for
which keys and prefixes, when, and of which revision the answer was. An answer
without a revision was an error, e.g. that a key is not set. Reads that reveal
secrets are recorded without a policy, too.

An operator sets the policy of a tenant, prefix by prefix; it counts from the
next read on:

  stele -t _system set policy/acme/reads '{"record":["paramconfig/secrets/"]}'`,
		Example: `  stele audit reads --since 2d
  stele audit reads --since 2025-03-04 --until 2025-03-05 -n 0 -o json`,
		Args: cobra.NoArgs,
	}
	cmd.RunE = c.connected(func(ctx context.Context, s *session, _ []string) error {
		req := &stelev1.ListReadsRequest{}
		var err error
		if req.Since, err = timeFlag("since", since); err != nil {
			return err
		}
		if req.Until, err = timeFlag("until", until); err != nil {
			return err
		}
		var rows [][]string
		more, err := s.reads(ctx, req, most, func(r *stelev1.ReadRecord) error {
			if s.Format != output.Text {
				return s.Object(readObject(r))
			}
			revision := "-"
			if r.Revision > 0 {
				revision = styleRevision(ledger.Revision(r.Revision).String())
			}
			method := path.Base(r.Method)
			if r.Revealed {
				method += " --reveal"
			}
			rows = append(rows, []string{
				output.Faint.Render(clock(r.Time)), output.Plain(r.Subject), method, revision, output.Plain(strings.Join(asked(r), " ")),
			})
			return nil
		})
		if err != nil || len(rows) == 0 {
			return err
		}
		if err := s.Table([]string{"TIME", "WHO", "METHOD", "REVISION", "WHAT"}, rows, 4); err != nil || !more {
			return err
		}
		return s.Printf("%s\n", output.Faint.Render("there are more: --since a later time, or -n 0 for all"))
	})
	flags := cmd.Flags()
	flags.StringVar(&since, "since", "", "only reads not before this time, e.g. 2h (ago) or 2025-03-04T08:00Z")
	flags.StringVar(&until, "until", "", "only reads before this time")
	flags.IntVarP(&most, "number", "n", 100, "how many at most; 0 for all")
	return cmd
}

// reads calls f for the reads that the request selects, at most so many (0 for
// all), and says whether there are more.
func (s *session) reads(ctx context.Context, req *stelev1.ListReadsRequest, most int, f func(*stelev1.ReadRecord) error) (more bool, err error) {
	const page = 1000
	for count := 0; ; {
		req.PageSize = page
		if most > 0 {
			req.PageSize = uint32(min(page, most-count))
		}
		resp, err := s.ledger.ListReads(ctx, req)
		if err != nil {
			return false, err
		}
		for _, r := range resp.Reads {
			if err := f(r); err != nil {
				return false, err
			}
		}
		count += len(resp.Reads)
		if req.PageToken = resp.NextPageToken; req.PageToken == "" || most > 0 && count >= most {
			return req.PageToken != "", nil
		}
	}
}

// timeFlag reads a flag that is a time; nil where it is not given.
func timeFlag(name, text string) (*timestamppb.Timestamp, error) {
	if text == "" {
		return nil, nil
	}
	m, err := moment.Parse(text, time.Now())
	if err != nil {
		return nil, failure.Usagef("--%s: %w", name, err)
	}
	if m.Time.IsZero() {
		return nil, failure.Usagef("--%s: %q is a revision; give a time, for example 2h (ago) or 2025-03-04T08:00Z", name, text)
	}
	return timestamppb.New(m.Time), nil
}

// asked is what was read as people write it: keys, and prefixes with a star.
func asked(r *stelev1.ReadRecord) []string {
	what := r.Keys
	for _, p := range r.Prefixes {
		what = append(what, p+"*")
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
		Time: rfc3339(r.Time), Subject: r.Subject, Roles: r.Roles, Method: r.Method,
		Keys: r.Keys, Prefixes: r.Prefixes, Revision: r.Revision, Revealed: r.Revealed,
	}
}
