// Package promote has the command that promotes the changes of one tenant to another.
package promote

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/internal/ledger"
)

// promoteFlags say what to promote, and how.
type promoteFlags struct {
	from, to, fromContext, toContext string
	theirs, ours                     []string
	message                          string
	plan, yes, allowInvalid          bool
}

func PromoteCommand(c *session.Flags) *cobra.Command {
	var p promoteFlags
	cmd := &cobra.Command{
		Use:   "promote --from TENANT[@REV|@TIME] --to TENANT [PREFIX]",
		Short: "Promote the changes of one tenant to another",
		Long: `Apply to one tenant what has changed in another since the last promotion, in one
commit: the keys that the source itself has set and deleted, and their schemas,
but not inherited values. The command shows the plan and asks for confirmation.
If another user writes before you confirm, nothing is written.

A key that only the target has changed stays. A key that both have changed to
different values is a conflict: it is shown and not changed, and the exit code
is 4, unless --theirs takes the source's value or --ours keeps the target's. At
the first promotion every key that differs is a conflict.

Secrets are compared and copied if you are allowed to reveal them in both
tenants, which is recorded; others are listed and left for a later promotion.`,
		Example: `  stele promote --from staging --to production --plan
  stele promote --from staging@42 --to production tenantconfig/checkout/
  stele promote --from staging --to production --theirs tenantconfig/timeout_ms
  stele promote --from staging --from-context eu --to production --to-context us`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: c.CompleteKey,
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		prefix, err := p.validate(c, session.FirstArg(args))
		if err != nil {
			return err
		}
		source := *c
		tenant, at, pinned := strings.Cut(p.from, "@")
		if pinned {
			at = "@" + at
		}
		source.Choice.Tenant = tenant
		if p.fromContext != "" {
			source.Choice.Context = p.fromContext
		}
		// The flags of the target are those of the session, and of the command that undoes the
		// promotion.
		for name, value := range map[string]string{"tenant": p.to, "context": p.toContext} {
			if value == "" {
				continue
			}
			if err := cmd.Root().PersistentFlags().Set(name, value); err != nil {
				return err
			}
		}
		return c.Connected(func(ctx context.Context, to *session.Session, _ []string) error {
			if !p.plan && !p.yes && !to.CanAsk() {
				return failure.Try(failure.Usagef("cannot ask for confirmation: standard input is not a terminal"), "--plan, to see what would change, or --yes")
			}
			from, err := source.Connect()
			if err != nil {
				return err
			}
			defer from.Conn.Close()
			// The session's context acts for the target.
			r := &promotionRun{promoteFlags: &p, prefix: prefix, from: from, fromCtx: from.ActFor(cmd.Context()), to: to, toCtx: ctx}
			return r.run(cmd, at)
		})(cmd, args)
	}
	flags := cmd.Flags()
	flags.StringVar(&p.from, "from", "", "tenant to promote from, for example staging, staging@42 or staging@2h")
	flags.StringVar(&p.to, "to", "", "tenant to promote to")
	flags.StringVar(&p.fromContext, "from-context", "", "context of the tenant to promote from, which may be in another ledger")
	flags.StringVar(&p.toContext, "to-context", "", "context of the tenant to promote to")
	flags.StringArrayVar(&p.theirs, "theirs", nil, "take the source's value if this key, or a key under this prefix, is a conflict")
	flags.StringArrayVar(&p.ours, "ours", nil, "keep the target's value if this key, or a key under this prefix, is a conflict")
	flags.StringVarP(&p.message, "message", "m", "", "reason for the change, shown in the history")
	flags.BoolVar(&p.plan, "plan", false, "write nothing; show what would change")
	flags.BoolVar(&p.yes, "yes", false, "do not ask")
	flags.BoolVar(&p.allowInvalid, "allow-invalid", false, "set schemas even if current values violate them; those values stay")
	session.CompleteFlag(cmd, "from-context", session.ContextNames)
	session.CompleteFlag(cmd, "to-context", session.ContextNames)
	return cmd
}

// validate checks the flags and reads the prefix.
func (p *promoteFlags) validate(c *session.Flags, prefix string) (ledger.Pattern, error) {
	tenant, _, _ := strings.Cut(p.from, "@")
	switch {
	case tenant == "" && p.fromContext == "":
		return "", failure.Usagef("promote takes --from TENANT")
	case p.to == "" && p.toContext == "":
		return "", failure.Usagef("promote takes --to TENANT")
	case c.Choice.Tenant != "":
		return "", failure.Usagef("--tenant cannot be combined with --from and --to")
	case tenant == p.to && p.fromContext == p.toContext:
		return "", failure.Usagef("--from and --to are both %s", p.to)
	case ledger.Key(prefix).Reserved():
		return "", failure.Try(failure.Usagef("%s: the ledger's own settings are not promoted by themselves", prefix), "a prefix of keys, which promotes their schemas as well")
	}
	for _, text := range append(append([]string{prefix}, p.theirs...), p.ours...) {
		if _, err := ledger.ParsePattern(text); err != nil {
			return "", failure.With(failure.Invalid, err)
		}
	}
	return ledger.Pattern(prefix), nil
}

func patterns(texts []string) []ledger.Pattern {
	all := make([]ledger.Pattern, len(texts))
	for i, t := range texts {
		all[i] = ledger.Pattern(t)
	}
	return all
}
