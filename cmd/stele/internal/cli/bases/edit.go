package bases

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// edit changes a list of bases. head returns the head of a tenant that may be attached.
type edit func(list []ledger.Base, head func() (ledger.Revision, error)) ([]ledger.Base, error)

// editFlags are the flags of every command that changes a list.
type editFlags struct {
	message string
	tenants []string
}

func (f *editFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.message, "message", "m", "", "reason for the change, shown in the history")
	cmd.Flags().StringSliceVar(&f.tenants, "tenants", nil, "tenants to change, separated by commas (operators only); the default is --tenant")
}

func addCommand(c *session.Flags) *cobra.Command {
	var f editFlags
	var pin, before string
	cmd := &cobra.Command{
		Use:   "add BASE",
		Short: "Let a tenant inherit from a base",
		Long: `Add a base to a tenant's list. It follows the base: each commit of the base
moves the pin. With --pin it stays at a revision of the base.

The new base is the last, so that the existing bases win; --before puts it in
front of one of them. Operators can add any tenant that has no bases itself.
Other users can add a tenant whose policy names theirs.`,
		Example: `  stele -t acme base add defaults
  stele -t acme base add plan-enterprise --before defaults
  stele base add defaults --tenants acme,globex,initech`,
		Args: cobra.ExactArgs(1),
	}
	cmd.RunE = f.run(c, cmd, func(name ledger.Tenant) (edit, string, error) {
		var at ledger.Revision
		if pin != "" {
			var err error
			if at, err = revisionOf(pin); err != nil {
				return nil, "", err
			}
		}
		return func(list []ledger.Base, head func() (ledger.Revision, error)) ([]ledger.Base, error) {
			if i := index(list, name); i >= 0 {
				return nil, failure.With(failure.Invalid, fmt.Errorf("%s is already a base, pinned at %s", name, list[i].Revision))
			}
			place := len(list)
			if before != "" {
				if place = index(list, ledger.Tenant(before)); place < 0 {
					return nil, failure.With(failure.NotFound, fmt.Errorf("--before: %s is not a base", before))
				}
			}
			b := ledger.Base{Tenant: name, Revision: at, Follow: at == 0}
			var err error
			if at == 0 {
				b.Revision, err = head()
			}
			return slices.Insert(list, place, b), err
		}, fmt.Sprintf("Add base %s", name), nil
	})
	f.add(cmd)
	cmd.Flags().StringVar(&pin, "pin", "", "revision of the base to stay at, for example @17")
	cmd.Flags().StringVar(&before, "before", "", "base to put it in front of")
	return cmd
}

func removeCommand(c *session.Flags) *cobra.Command {
	var f editFlags
	cmd := &cobra.Command{
		Use:     "remove BASE",
		Aliases: []string{"rm"},
		Short:   "Remove a base from a tenant's list",
		Long: `Remove a base from a tenant's list. Keys that the tenant inherited from it get
the value of a later base in the list, or are not set any more.`,
		Example: `  stele -t acme base remove plan-trial`,
		Args:    cobra.ExactArgs(1),
	}
	cmd.RunE = f.run(c, cmd, func(name ledger.Tenant) (edit, string, error) {
		return func(list []ledger.Base, _ func() (ledger.Revision, error)) ([]ledger.Base, error) {
			i, err := listed(list, name)
			if err != nil {
				return nil, err
			}
			return slices.Delete(list, i, i+1), nil
		}, fmt.Sprintf("Remove base %s", name), nil
	})
	f.add(cmd)
	return cmd
}

func pinCommand(c *session.Flags) *cobra.Command {
	var f editFlags
	cmd := &cobra.Command{
		Use:   "pin BASE [REV]",
		Short: "Keep a base at one revision",
		Long: `Pin a base at revision REV of the base, or without REV at its current pin.
Commits of the base do not reach the tenant until the pin is moved, or the
tenant follows the base again.`,
		Example: `  stele -t acme base pin plan-enterprise @17`,
		Args:    cobra.RangeArgs(1, 2),
	}
	run := func(args []string) func(ledger.Tenant) (edit, string, error) {
		return func(name ledger.Tenant) (edit, string, error) {
			var at ledger.Revision
			message := fmt.Sprintf("Pin base %s", name)
			if len(args) > 1 {
				var err error
				if at, err = revisionOf(args[1]); err != nil {
					return nil, "", err
				}
				message += " at " + at.String()
			}
			return func(list []ledger.Base, _ func() (ledger.Revision, error)) ([]ledger.Base, error) {
				i, err := listed(list, name)
				if err != nil {
					return nil, err
				}
				list[i].Follow = false
				if at > 0 {
					list[i].Revision = at
				}
				return list, nil
			}, message, nil
		}
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return f.run(c, cmd, run(args))(cmd, args) }
	f.add(cmd)
	return cmd
}

func followCommand(c *session.Flags) *cobra.Command {
	var f editFlags
	cmd := &cobra.Command{
		Use:   "follow BASE",
		Short: "Move a base's pin with every commit of the base",
		Long: `Follow a base: its pin moves to the head of the base now, and then with each of
its commits.`,
		Example: `  stele -t acme base follow plan-enterprise`,
		Args:    cobra.ExactArgs(1),
	}
	cmd.RunE = f.run(c, cmd, func(name ledger.Tenant) (edit, string, error) {
		return func(list []ledger.Base, head func() (ledger.Revision, error)) ([]ledger.Base, error) {
			i, err := listed(list, name)
			if err != nil {
				return nil, err
			}
			list[i].Follow = true
			list[i].Revision, err = head()
			return list, err
		}, fmt.Sprintf("Follow base %s", name), nil
	})
	f.add(cmd)
	return cmd
}

// run changes the list of one tenant, or of those that --tenants names.
func (f *editFlags) run(c *session.Flags, cmd *cobra.Command, prepare func(base ledger.Tenant) (edit, string, error)) func(*cobra.Command, []string) error {
	return c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		base, err := ledger.ParseTenant(args[0])
		if err != nil {
			return failure.With(failure.Usage, err)
		}
		change, message, err := prepare(base)
		if err != nil {
			return err
		}
		if f.message != "" {
			message = f.message
		}
		if len(f.tenants) == 0 {
			cs, err := changed(ctx, s, base, change, message)
			if err != nil {
				return err
			}
			return s.Commit(ctx, cmd, cs)
		}
		return f.each(ctx, s, base, change, message)
	})
}

// each changes the lists of several tenants. A tenant that fails keeps no other from being
// changed.
func (f *editFlags) each(ctx context.Context, s *session.Session, base ledger.Tenant, change edit, message string) error {
	tenants, err := session.ParseTenants(f.tenants)
	if err != nil {
		return err
	}
	results, errs := make([]*stelev1.CommitResponse, len(tenants)), make([]error, len(tenants))
	_ = session.EachTenant(ctx, tenants, func(ctx context.Context, i int) error {
		var cs *ledger.ChangeSet
		if errs[i] = exists(ctx, s, tenants[i]); errs[i] != nil {
			return nil
		}
		if cs, errs[i] = changed(ctx, s, base, change, message); errs[i] == nil {
			results[i], errs[i] = s.Submit(ctx, cs)
		}
		return nil
	})
	failed := 0
	for i, t := range tenants {
		var err error
		switch {
		case errs[i] != nil:
			failed++
			err = printFailed(s, t, errs[i])
		case s.Format != output.Text:
			err = s.Object(session.ResultOf(t, results[i], ""))
		default:
			err = s.Printf("%s%s  %s\n", t, ledger.Revision(results[i].Revision), message)
		}
		if err != nil {
			return err
		}
	}
	if failed > 0 {
		return failure.With(failure.Conflict, fmt.Errorf("the list of %d of %s was not changed", failed, output.Count(len(tenants), "tenant")))
	}
	return ctx.Err()
}

// exists returns an error if the tenant has no commit: its name may be misspelled.
func exists(ctx context.Context, s *session.Session, t ledger.Tenant) error {
	head, err := s.Ledger.GetHead(ctx, &stelev1.GetHeadRequest{})
	if err == nil && head.Snapshot.GetHead() == 0 {
		err = failure.With(failure.NotFound, fmt.Errorf("tenant %s has no commits", t))
	}
	return err
}

// printFailed prints that a tenant's list was not changed.
func printFailed(s *session.Session, t ledger.Tenant, why error) error {
	if s.Format != output.Text {
		return s.Object(struct {
			Tenant ledger.Tenant `json:"tenant"`
			Error  string        `json:"error"`
		}{t, failure.Message(why)})
	}
	return s.Printf("%s  failed: %s\n", t, failure.Message(why))
}

// changed is the change set that changes a tenant's list, on the condition that the list stays as it is.
func changed(ctx context.Context, s *session.Session, base ledger.Tenant, change edit, message string) (*ledger.ChangeSet, error) {
	client := stelev1.NewBasesClient(s.Conn)
	resp, err := client.ListBases(ctx, &stelev1.ListBasesRequest{})
	if err != nil {
		return nil, err
	}
	list := make([]ledger.Base, len(resp.Bases))
	for i, b := range resp.Bases {
		list[i] = ledger.Base{Tenant: ledger.Tenant(b.Tenant), Revision: ledger.Revision(b.Revision), Follow: b.Follow}
	}
	head := func() (ledger.Revision, error) {
		if b := find(resp.Bases, string(base)); b != nil {
			return ledger.Revision(b.Head), nil
		}
		got, err := client.ListBases(ctx, &stelev1.ListBasesRequest{Attach: string(base)})
		switch {
		case err != nil:
			return 0, err
		case got.AttachHead == 0:
			return 0, failure.With(failure.NotFound, fmt.Errorf("tenant %s has no commits", base))
		}
		return ledger.Revision(got.AttachHead), nil
	}
	if list, err = change(list, head); err != nil {
		return nil, err
	}
	cs := &ledger.ChangeSet{
		Message: message, Changes: []ledger.Change{{Key: ledger.BasesKey, Value: ledger.BasesValue(list)}},
		Preconditions: []ledger.Precondition{{Key: ledger.BasesKey, Revision: ledger.Revision(resp.ListRevision)}},
	}
	if len(list) == 0 {
		cs.Changes[0] = ledger.Change{Key: ledger.BasesKey, Delete: true}
	}
	return cs, nil
}

func index(list []ledger.Base, name ledger.Tenant) int {
	return slices.IndexFunc(list, func(b ledger.Base) bool { return b.Tenant == name })
}

func listed(list []ledger.Base, name ledger.Tenant) (int, error) {
	i := index(list, name)
	if i < 0 {
		return 0, failure.With(failure.NotFound, fmt.Errorf("%s is not a base of the tenant", name))
	}
	return i, nil
}

// revisionOf reads a revision of a base, which is another tenant: it cannot be relative.
func revisionOf(text string) (ledger.Revision, error) {
	m, err := session.ParseAsOf(text)
	if err == nil && m.Revision == 0 {
		err = failure.Usagef("%q is not a revision of the base: write it like @17", text)
	}
	return m.Revision, err
}
