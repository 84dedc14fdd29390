package access

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// operations that may be asked about.
var operations = []string{"read", "write", "audit", "administer", "reveal", "replicate"}

func CanCommand(c *session.Flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "can OPERATION [KEY|PREFIX]",
		Short: "Check whether you have a permission, and why",
		Long: `Check whether the token in use is allowed an operation on a key, or on all keys
under a prefix that ends with "/"; without either, on all keys of the tenant.
The answer does not depend on, or reveal, whether the key is set.

The operations are read, write, audit, administer, reveal and replicate. The
exit code is 0 for yes and 5 for no.`,
		Example: `  stele can write tenantconfig/checkout/timeout_ms
  stele can read tenantconfig/ && stele list tenantconfig/`,
		Args: cobra.RangeArgs(1, 2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return operations, cobra.ShellCompDirectiveNoFileComp
			}
			return c.CompleteKey(cmd, args[1:], typed)
		},
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		req := &stelev1.CheckAccessRequest{Operation: args[0], On: &stelev1.CheckAccessRequest_Prefix{Prefix: session.FirstArg(args[1:])}}
		if what := req.GetPrefix(); what != "" && !strings.HasSuffix(what, "/") {
			req.On = &stelev1.CheckAccessRequest_Key{Key: what}
		}
		resp, err := s.Ledger.CheckAccess(ctx, req)
		if err != nil {
			return err
		}
		if s.Format != output.Text {
			err = s.Object(access{resp.Allowed, resp.Reason, json.RawMessage(resp.Grant)})
		} else if resp.Allowed {
			err = s.Printf("yes: %s\n", strings.TrimSuffix(output.Plain(resp.Reason)+": "+output.Plain(resp.Grant), ": "))
		}
		if err == nil && !resp.Allowed {
			err = failure.With(failure.Denied, errors.New("no: "+output.Plain(resp.Reason)))
		}
		return err
	})
	return cmd
}

type access struct {
	Allowed bool            `json:"allowed"`
	Reason  string          `json:"reason"`
	Grant   json.RawMessage `json:"grant,omitempty"`
}
