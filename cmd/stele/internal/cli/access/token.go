// Package access has the commands about the caller: token, whoami and can.
package access

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/claims"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
)

func TokenCommand(c *session.Flags) *cobra.Command {
	var raw bool
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Print the claims of the current token",
		Long: `Print the claims of the current token. Nothing is verified here: "stele whoami"
shows how the gateway reads it, "stele token inspect" why it is rejected.`,
		Example: `  curl -H "Authorization: Bearer $(stele token --raw)" ...`,
		Args:    cobra.NoArgs,
	}
	cmd.RunE = func(*cobra.Command, []string) error {
		token, err := tokenInUse(c)
		if err != nil {
			return err
		}
		p := c.Printer()
		if raw {
			return p.Write([]byte(token + "\n"))
		}
		cl, err := claims.Read(token)
		if err != nil {
			return failure.With(failure.Invalid, err)
		}
		if p.Format != output.Text {
			return p.Object(json.RawMessage(cl.JSON))
		}
		return printClaims(p, cl)
	}
	cmd.Flags().BoolVar(&raw, "raw", false, "print the token itself")
	cmd.AddCommand(tokenMintCommand(c), tokenInspectCommand(c))
	return cmd
}

func printClaims(p *output.Printer, cl claims.Claims) error {
	rows := [][2]string{{"subject", output.Plain(cl.Subject)}, {"tenant", output.Plain(cl.Tenant)}}
	if cl.Tenant == "" {
		rows[1][1] = "none: choose one with -t"
	}
	if !cl.Issued.IsZero() {
		rows = append(rows, [2]string{"issued", cl.Issued.UTC().Format(time.RFC3339)})
	}
	if !cl.Expires.IsZero() {
		rows = append(rows, [2]string{"expires", cl.Expires.UTC().Format(time.RFC3339) + expiry(cl.Expires)})
	}
	rows = append(rows, [2]string{"claims", output.Plain(string(cl.JSON))})
	return printRows(p, rows)
}

func expiry(t time.Time) string {
	left := time.Until(t).Round(time.Second)
	if left <= 0 {
		return output.Bad.Render(fmt.Sprintf(", %s ago", -left))
	}
	return fmt.Sprintf(", in %s", left)
}
