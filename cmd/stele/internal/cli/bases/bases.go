// Package bases has the commands for what tenants inherit.
package bases

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func BaseCommand(c *session.Flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "base",
		Short: "Manage the bases that a tenant inherits from",
		Long: `A base is a tenant whose keys another tenant inherits, for example a set of
defaults or a plan. The value of a key is the tenant's own. If the tenant does
not set the key, it is the value of the first base in its list that has the key,
at the pinned revision. If the tenant follows the base, each commit of the base
moves the pin. docs/bases.md describes bases.`,
	}
	cmd.AddCommand(listCommand(c), showCommand(c), addCommand(c), removeCommand(c), pinCommand(c), followCommand(c), impactCommand(c))
	return cmd
}

// baseObject is a base as -o json and -o yaml print it.
type baseObject struct {
	Base     string `json:"base"`
	Revision uint64 `json:"revision"`
	Follow   bool   `json:"follow"`
	Head     uint64 `json:"head"`
}

func objectOf(b *stelev1.TenantBase) baseObject {
	return baseObject{b.Tenant, b.Revision, b.Follow, b.Head}
}

// state says how the pin moves.
func state(b *stelev1.TenantBase) string {
	switch {
	case b.Follow && b.Revision < b.Head:
		return "follows, behind"
	case b.Follow:
		return "follows"
	}
	return "pinned"
}

func listCommand(c *session.Flags) *cobra.Command {
	var at string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List a tenant's bases in their order",
		Long:    `List the bases of a tenant. If several bases have a key, the first one wins.`,
		Example: `  stele -t acme base list`,
		Args:    cobra.NoArgs,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, _ []string) error {
		point, err := s.At(ctx, at)
		if err != nil {
			return err
		}
		resp, err := stelev1.NewBasesClient(s.Conn).ListBases(ctx, &stelev1.ListBasesRequest{At: point})
		if err != nil {
			return err
		}
		var rows [][]string
		for _, b := range resp.Bases {
			if s.Format != output.Text {
				if err := s.Object(objectOf(b)); err != nil {
					return err
				}
				continue
			}
			rows = append(rows, []string{b.Tenant, render.Revision(ledger.Revision(b.Revision).String()), ledger.Revision(b.Head).String(), state(b)})
		}
		switch {
		case s.Format != output.Text:
			return nil
		case len(rows) == 0:
			return render.Nothing(s.Printer, fmt.Sprintf("%s has no bases", s.Tenant))
		}
		return s.Table([]string{"BASE", "REVISION", "HEAD", "STATE"}, rows, -1)
	})
	cmd.Flags().StringVar(&at, "at", "", "revision or time to read")
	return cmd
}

// shown is a base and what a tenant inherits from it, for programs.
type shown struct {
	baseObject
	Inherited int `json:"inherited"`
}

func showCommand(c *session.Flags) *cobra.Command {
	return &cobra.Command{
		Use:     "show BASE",
		Short:   "Show a base and the keys that a tenant inherits from it",
		Example: `  stele -t acme base show plan-enterprise`,
		Args:    cobra.ExactArgs(1),
		RunE: c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
			resp, err := stelev1.NewBasesClient(s.Conn).ListBases(ctx, &stelev1.ListBasesRequest{})
			if err != nil {
				return err
			}
			b := find(resp.Bases, args[0])
			if b == nil {
				return notListed(s, args[0])
			}
			var keys []string
			err = s.Entries(ctx, &stelev1.ListRequest{KeysOnly: true, PageSize: session.FirstPage}, func(es []*stelev1.Entry) error {
				for _, e := range es {
					if e.Base.GetTenant() == b.Tenant {
						keys = append(keys, e.Key)
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
			if s.Format != output.Text {
				return s.Object(shown{objectOf(b), len(keys)})
			}
			if err := s.Printf("%s%s  %s, head %s, %s inherited\n", b.Tenant, render.Revision(ledger.Revision(b.Revision).String()), state(b),
				ledger.Revision(b.Head), output.Count(len(keys), "key")); err != nil {
				return err
			}
			for _, key := range keys {
				if err := s.Printf("  %s\n", key); err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

func find(bases []*stelev1.TenantBase, name string) *stelev1.TenantBase {
	for _, b := range bases {
		if b.Tenant == name {
			return b
		}
	}
	return nil
}

func notListed(s *session.Session, name string) error {
	return failure.Try(failure.With(failure.NotFound, fmt.Errorf("%s is not a base of %s", name, s.Tenant)), "stele base list")
}
