package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/claims"
	"github.com/stelehq/stele/cmd/stele/internal/contexts"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
)

func tokenCommand(c *cli) *cobra.Command {
	var raw bool
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Print what the token in use says",
		Long: `Print what the token in use says. Nothing is verified here: "stele status" tells
what the gateway makes of it.`,
		Example: `  curl -H "Authorization: Bearer $(stele token --raw)" ...`,
		Args:    cobra.NoArgs,
	}
	cmd.RunE = func(*cobra.Command, []string) error {
		settings, err := contexts.Resolve(c.choice)
		if err != nil {
			return failure.With(failure.Usage, err)
		}
		token, err := settings.ReadToken()
		if err != nil {
			return err
		}
		if token == "" {
			return failure.Try(failure.Usagef("no token is chosen"), "--token-file FILE, or a token in $STELE_TOKEN")
		}
		p := c.printer()
		if raw {
			return p.Write([]byte(token + "\n"))
		}
		cl, err := claims.Read(token)
		if err != nil {
			return failure.With(failure.Invalid, err)
		}
		if p.Format != output.Text {
			return p.Object(rawObject(cl.JSON))
		}
		return printClaims(p, cl)
	}
	cmd.Flags().BoolVar(&raw, "raw", false, "print the token itself")
	return cmd
}

func rawObject(data []byte) json.RawMessage { return data }

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
	rows = append(rows, [2]string{"claims", string(cl.JSON)})
	for _, row := range rows {
		if err := p.Printf("%s  %s\n", output.Faint.Render(fmt.Sprintf("%-7s", row[0])), row[1]); err != nil {
			return err
		}
	}
	return nil
}

func expiry(t time.Time) string {
	left := time.Until(t).Round(time.Second)
	if left <= 0 {
		return output.Bad.Render(fmt.Sprintf(", %s ago", -left))
	}
	return fmt.Sprintf(", in %s", left)
}
