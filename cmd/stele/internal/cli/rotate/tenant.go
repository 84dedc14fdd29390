package rotate

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func tenantKeyCommand(c *session.Flags) *cobra.Command {
	var all, newKey bool
	cmd := &cobra.Command{
		Use:   "tenant-key (TENANT... | --all)",
		Short: "Re-encrypt or replace tenants' keys for secrets (operators only)",
		Long: `Encrypt the keys of tenants' secrets again, with the secrets key that the
gateway encrypts with now. With --new-key, each tenant also gets a new key,
which encrypts the secrets that are set from then on; older secrets stay
readable with the keys that they were encrypted with. History is not rewritten.
Tenants without secrets are skipped.

You can run the command again: it finishes an interrupted run.`,
		Example: `  stele rotate tenant-key --all
  stele rotate tenant-key acme --new-key`,
	}
	cmd.RunE = c.Connected(func(_ context.Context, s *session.Session, args []string) error {
		if all == (len(args) > 0) {
			return failure.Usagef("name tenants, or give --all")
		}
		if all {
			args = []string{string(ledger.System)} // its key shows each process whether it has the right secrets key
			req := &stelev1.ListTenantsRequest{PageSize: 10_000}
			for more := true; more; more = req.PageToken != "" {
				resp, err := s.Ledger.ListTenants(cmd.Context(), req)
				if err != nil {
					return err
				}
				for _, t := range resp.Tenants {
					args = append(args, t.Tenant)
				}
				req.PageToken = resp.NextPageToken
			}
		}
		for _, name := range args {
			t, err := ledger.ParseTenant(name)
			if err != nil {
				return failure.With(failure.Usage, err)
			}
			if err := rotateTenant(cmd.Context(), s, t, newKey && t != ledger.System, all); err != nil {
				return fmt.Errorf("%s: %w", t, err)
			}
		}
		return nil
	})
	cmd.Flags().BoolVar(&all, "all", false, "all tenants")
	cmd.Flags().BoolVar(&newKey, "new-key", false, "make a new key for secrets that are set from now on")
	return cmd
}

// rotated is what was done, for programs.
type rotated struct {
	Tenant ledger.Tenant `json:"tenant"`
	// Key encrypts the tenant's secrets now, and Older are those of older ones.
	Key   string   `json:"key"`
	Older []string `json:"older"`
}

func rotateTenant(ctx context.Context, s *session.Session, t ledger.Tenant, newKey, skip bool) error {
	resp, err := s.Ledger.RotateTenantKey(conn.AsTenant(ctx, t), &stelev1.RotateTenantKeyRequest{NewKey: newKey})
	if skip && status.Code(err) == codes.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	if s.Format != output.Text {
		return s.Object(rotated{t, resp.Key, append([]string{}, resp.Older...)})
	}
	return s.Printf("%s  %s encrypts its secrets, and there are %s\n", t, resp.Key, output.Count(len(resp.Older), "older key"))
}
