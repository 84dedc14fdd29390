package keys

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/changefile"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/input"
	"github.com/stelehq/stele/internal/ledger"
)

// applyFlags say what to apply, and how.
type applyFlags struct {
	session.WriteFlags
	file      string
	plan, yes bool
	prune     string
	prunes    bool // prune was given; it may be empty
}

func ApplyCommand(c *session.Flags) *cobra.Command {
	var a applyFlags
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Apply a change set from a YAML or JSON file",
		Long: `Apply all of a change set from a file, "-" for standard input, or none of it:

  message: Give checkout more time
  changes:
    - key: tenantconfig/checkout/timeout_ms
      value: 3000
    - key: tenantconfig/checkout/beta
      delete: true
  expect:
    tenantconfig/checkout/timeout_ms: 41
    tenantconfig/checkout/new: absent

A line of a change log is also such a file; it is applied with your name and the
current time ("stele import" keeps time and author).

--plan writes nothing: it shows what would change, fails if the change set would
be rejected, and warns of keys that a sink would reject. Without --plan those
keys are written, with the same warning, and the sink parks them.

--prune PREFIX also deletes the keys under the prefix that the file does not
name: for "a/b" the key a/b and those below it, for "a/b*" all that begin with
these characters. It shows the plan and asks for confirmation. If another user
writes before you confirm, nothing is written.`,
		Example: `  stele apply -f limits.yaml --plan
  stele apply -f checkout.yaml --prune tenantconfig/checkout/`,
		Args: func(cmd *cobra.Command, args []string) error {
			if a.file == "" || len(args) > 0 {
				return fmt.Errorf("apply takes -f FILE and nothing else")
			}
			a.prunes = cmd.Flags().Changed("prune")
			return nil
		},
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, _ []string) error {
		cs, err := a.read(s)
		if err != nil {
			return err
		}
		switch {
		case a.plan:
			_, err := plan(ctx, s, &a, cs)
			return err
		case a.prunes:
			return prune(ctx, s, cmd, &a, cs)
		}
		return warnAndCommit(ctx, s, cmd, cs, false)
	})
	a.Add(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&a.file, "file", "f", "", `file to apply, "-" for standard input`)
	flags.BoolVar(&a.plan, "plan", false, "write nothing; show what would change")
	flags.StringVar(&a.prune, "prune", "", "delete the keys under the prefix that the file does not name: a/b, a/b/ or a/b*")
	flags.BoolVar(&a.yes, "yes", false, "do not ask before --prune deletes")
	session.CompleteFlag(cmd, "prune", func(cmd *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		return c.CompleteKey(cmd, nil, toComplete)
	})
	return cmd
}

// read reads the file, and applies the flags.
func (a *applyFlags) read(s *session.Session) (*ledger.ChangeSet, error) {
	data, err := input.Read(a.file)
	if err != nil {
		return nil, err
	}
	f, err := changefile.Parse(data)
	if err != nil {
		return nil, failure.With(failure.Invalid, fmt.Errorf("%s: %w", a.file, err))
	}
	if f.Tenant != "" && s.Tenant != "" && f.Tenant != s.Tenant {
		return nil, failure.Try(failure.Usagef("%s is for tenant %s, and you act for %s", a.file, f.Tenant, s.Tenant), "-t %s", f.Tenant)
	}
	return &f.ChangeSet, a.Into(&f.ChangeSet)
}
