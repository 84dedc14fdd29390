package access

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/claims"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/cli/trust"
	"github.com/stelehq/stele/cmd/stele/internal/contexts"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/gateway/identity"
)

func tokenInspectCommand(c *session.Flags) *cobra.Command {
	var o trust.Options
	var dir string
	cmd := &cobra.Command{
		Use:   "inspect [FILE]",
		Short: "Show the claims of a token and the reasons why it is invalid",
		Long: `Show the claims of a token and every reason why a gateway with the same flags
would reject it; without flags, the "stele up" whose token is in use. The token
is read from FILE, from standard input with "-", or is the one in use. Its
signature is checked but not printed, so the output cannot be used to
authenticate.

The exit code is 7 if the token is invalid.`,
		Example: `  stele token inspect
  stele token inspect - --issuer https://id.example.com --audience stele < token`,
		Args: cobra.MaximumNArgs(1),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		token, err := givenToken(c, cmd.InOrStdin(), session.FirstArg(args))
		if err != nil {
			return err
		}
		if o.Issuer == "" && o.JWKS == "" {
			dir, err := identityDir(c, dir)
			if err != nil {
				return err
			}
			o.JWKS = filepath.Join(dir, "jwks.json")
		}
		o.Issuer, o.Audience = cmp.Or(o.Issuer, identity.LocalIssuer), cmp.Or(o.Audience, identity.LocalAudience)
		e, err := examine(cmd.Context(), &o, token)
		if err != nil {
			return err
		}
		p := c.Printer()
		if p.Format != output.Text {
			err = p.Object(examined(e))
		} else {
			err = printExamination(p, token, e)
		}
		if err == nil && len(e.Wrong) > 0 {
			return failure.Exit(failure.Unverified)
		}
		return err
	}
	o.AddFlags(cmd.Flags())
	cmd.Flags().StringVar(&dir, "identity", "", "folder of the local identity, if neither --issuer nor --jwks is given (default that of the stele up whose token is in use)")
	return cmd
}

func examine(ctx context.Context, o *trust.Options, token string) (identity.Examination, error) {
	v, keys, err := o.Open(ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		return identity.Examination{}, err
	}
	defer keys.Close()
	return v.Examine(token), nil
}

// givenToken reads the token of a file, or the one in use.
func givenToken(c *session.Flags, stdin io.Reader, file string) (string, error) {
	if file == "" {
		return tokenInUse(c)
	}
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", err
		}
		defer f.Close()
		stdin = f
	}
	b, err := io.ReadAll(io.LimitReader(stdin, identity.MaxToken+2)) // enough to see that it is too long
	return strings.TrimSpace(string(b)), err
}

// tokenInUse is the one that commands send.
func tokenInUse(c *session.Flags) (string, error) {
	settings, err := contexts.Resolve(c.Choice)
	if err != nil {
		return "", failure.With(failure.Usage, err)
	}
	token, err := settings.ReadToken()
	if err == nil && token == "" {
		err = failure.Try(failure.Usagef("no token is chosen"), "--token-file FILE, or a token in $STELE_TOKEN")
	}
	return token, err
}

// examination is what -o json prints.
type examination struct {
	Header  json.RawMessage `json:"header,omitempty"`
	Claims  json.RawMessage `json:"claims,omitempty"`
	Signed  bool            `json:"signed"`
	Subject string          `json:"subject,omitempty"`
	Tenant  string          `json:"tenant,omitempty"`
	Roles   []identity.Role `json:"roles,omitempty"`
	Expires *time.Time      `json:"expires,omitempty"`
	Wrong   []string        `json:"wrong"`
}

func examined(e identity.Examination) examination {
	o := examination{Header: json.RawMessage(e.Header), Claims: json.RawMessage(e.Claims), Signed: e.Signed, Wrong: append([]string{}, e.Wrong...)}
	if p := e.Principal; p != nil {
		o.Subject, o.Tenant, o.Roles, o.Expires = p.Subject, string(p.Tenant), p.Roles, &p.Expires
	}
	return o
}

func printExamination(p *output.Printer, token string, e identity.Examination) error {
	var rows [][2]string
	if e.Header != nil {
		rows = append(rows, [2]string{"header", output.Plain(string(e.Header))})
	}
	if e.Claims != nil {
		rows = append(rows, [2]string{"claims", output.Plain(string(e.Claims))})
	}
	if cl, err := claims.Read(token); err == nil && !cl.Expires.IsZero() {
		rows = append(rows, [2]string{"expires", cl.Expires.UTC().Format(time.RFC3339) + expiry(cl.Expires)})
	}
	if e.Signed {
		rows = append(rows, [2]string{"signed", output.Good.Render("by a key that is trusted")})
	}
	for _, reason := range e.Wrong {
		rows = append(rows, [2]string{"wrong", output.Bad.Render(output.Plain(reason))})
	}
	if who := e.Principal; who != nil {
		rows = append(rows, [2]string{"good", output.Good.Render("the gateway would accept it")}, [2]string{"subject", output.Plain(who.Subject)})
		if who.Tenant != "" {
			rows = append(rows, [2]string{"tenant", string(who.Tenant)})
		}
		rows = append(rows, [2]string{"roles", fmt.Sprint(who.Roles)})
	}
	return printRows(p, rows)
}

// printRows prints names and values.
func printRows(p *output.Printer, rows [][2]string) error {
	for _, row := range rows {
		if err := p.Printf("%s  %s\n", output.Faint.Render(fmt.Sprintf("%-7s", row[0])), row[1]); err != nil {
			return err
		}
	}
	return nil
}
