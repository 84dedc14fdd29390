package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/claims"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/contexts"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/cmd/stele/internal/userpool"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func DoctorCommand(c *session.Flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Diagnose the command line's set-up and suggest fixes",
		Args:  cobra.NoArgs,
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), 30*time.Second)
		defer cancel()
		return examine(ctx, c)
	}
	return cmd
}

// finding is the result of a check: what was found, or what to do.
type finding struct {
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	// Skipped is set if the check could not be made; OK is then false.
	Skipped bool   `json:"skipped,omitempty"`
	Found   string `json:"found,omitempty"`
	Try     string `json:"try,omitempty"`
}

// errSkipped marks a check that cannot be made because one before it failed.
var errSkipped = errors.New("not checked: a check before it failed")

// errDenied marks a check that cannot be made with the caller's permissions.
var errDenied = errors.New("not checked: your token lacks the permission")

// subject is what is checked, with results that later checks use.
type subject struct {
	cli      *session.Flags
	settings contexts.Settings
	claims   *claims.Claims
	session  *session.Session
	status   *stelev1.GetStatusResponse
}

// check returns its finding, or an error and what to try.
type check struct {
	name string
	run  func(context.Context, *subject) (found, try string, err error)
}

func examine(ctx context.Context, c *session.Flags) error {
	p := &subject{cli: c}
	defer func() {
		if p.session != nil {
			p.session.Conn.Close()
		}
	}()
	out, failed := c.Printer(), false
	for _, ch := range []check{
		{"context", checkContext}, {"token", checkToken}, {"token file", checkTokenFile}, {"address", checkAddress},
		{"gateway", checkGateway}, {"tenant", checkTenant}, {"clock", checkClock}, {"replica", checkReplica}, {"writes", checkWrites},
		{"journal", checkJournal}, {"sinks", checkSinks},
	} {
		found, try, err := ch.run(ctx, p)
		f := finding{Check: ch.name, OK: err == nil, Found: found, Try: try}
		if err != nil {
			notHere := errors.Is(err, errDenied) || errors.Is(err, errNotScrubbed)
			f.Skipped = errors.Is(err, errSkipped) || notHere
			f.Found = failure.Message(err)
			failed = failed || !notHere
		}
		if err := f.print(out); err != nil {
			return err
		}
	}
	if failed {
		return failure.Exit(failure.Other)
	}
	return nil
}

func (f finding) print(out *output.Printer) error {
	if out.Format != output.Text {
		return out.Object(f)
	}
	mark := output.Good.Render("ok  ")
	switch {
	case f.Skipped:
		mark = output.Faint.Render("--  ")
	case !f.OK:
		mark = output.Bad.Render("FAIL")
	}
	if err := out.Printf("%s  %-10s  %s\n", mark, f.Check, f.Found); err != nil || f.Try == "" {
		return err
	}
	return out.Printf("      try: %s\n", f.Try)
}

func checkContext(_ context.Context, p *subject) (string, string, error) {
	var err error
	if p.settings, err = contexts.Resolve(p.cli.Choice); err != nil {
		return "", "correct the file, or choose another context with --context", err
	}
	switch {
	case p.settings.Context != "":
		return fmt.Sprintf("%s in %s", p.settings.Context, p.settings.Path), "", nil
	case p.settings.Address != "":
		return "none; flags and the environment say where to go", "", nil
	}
	return "", "stele up, which writes one, or --address HOST:PORT", fmt.Errorf("%s does not have one", p.settings.Path)
}

func checkToken(ctx context.Context, p *subject) (string, string, error) {
	token, err := p.settings.ReadToken()
	if err == nil && token == "" {
		err = fmt.Errorf("it is not set")
	}
	if err != nil {
		return "", "--token-file FILE, or a token in $STELE_TOKEN; stele up makes one for this machine", err
	}
	cl, err := claims.Read(token)
	if err != nil {
		return "", "another token", err
	}
	p.claims = &cl
	found := fmt.Sprintf("of %q", cl.Subject)
	switch {
	case cl.Expires.IsZero():
		return found, "", nil
	case time.Now().After(cl.Expires):
		return "", "a new token; stele up renews this machine's", fmt.Errorf("it has expired at %s", cl.Expires.UTC().Format(time.RFC3339))
	}
	found = fmt.Sprintf("%s, until %s", found, cl.Expires.UTC().Format(time.RFC3339))
	if !userpool.IsIssuer(cl.Issuer) {
		return found, "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	switch is := userpool.Examine(ctx, cl.Issuer, cl.Client, userAttributes); {
	case is.Err != nil:
		return fmt.Sprintf("%s; could not check whether users can write %s: %v", found, strings.Join(userAttributes, ", "), is.Err), "", nil
	case len(is.Writable) > 0:
		return "", "remove them from the WriteAttributes of the app client " + cl.Client, fmt.Errorf("users can write %s, so they can choose their own tenant or role", strings.Join(is.Writable, " and "))
	}
	return found + "; users cannot change their tenant or role", "", nil
}

// userAttributes are the attributes of Amazon Cognito that a gateway takes a user's tenant and
// rights from: the attributes of --claims cognito, and the usual one for roles.
var userAttributes = []string{"custom:tenantId", "custom:role", "custom:prefixes", "custom:replicates"}

func checkTokenFile(_ context.Context, p *subject) (string, string, error) {
	if p.settings.TokenFile == "" {
		return "none is used", "", nil
	}
	info, err := os.Stat(p.settings.TokenFile)
	if err != nil {
		return "", "--token-file FILE", err
	}
	if others := info.Mode().Perm() & 0o077; others != 0 {
		return "", "chmod 600 " + output.ShellQuote(p.settings.TokenFile), fmt.Errorf("others may read or change it: mode %04o", info.Mode().Perm())
	}
	return p.settings.TokenFile, "", nil
}

func checkAddress(ctx context.Context, p *subject) (string, string, error) {
	if p.settings.Address == "" {
		return "", "--address HOST:PORT", fmt.Errorf("it is not set")
	}
	dialer := net.Dialer{Timeout: 5 * time.Second}
	var reached, failed []string
	for address := range strings.SplitSeq(p.settings.Address, ",") {
		address = strings.TrimSpace(address)
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			failed = append(failed, err.Error())
			continue
		}
		conn.Close()
		reached = append(reached, address)
	}
	found := strings.Join(reached, " and ") + " accepts connections"
	switch {
	case len(failed) == 0:
		return found, "", nil
	case len(reached) > 0: // commands use the others
		return "", "start the gateway, or remove the address", fmt.Errorf("%s; %s", strings.Join(failed, "; "), found)
	}
	return "", "start the gateway (stele up), or another --address", errors.New(strings.Join(failed, "; "))
}
