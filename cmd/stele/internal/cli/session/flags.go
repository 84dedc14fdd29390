package session

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/cmd/stele/internal/contexts"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Flags are the global flags.
type Flags struct {
	Choice contexts.Choice
	Format string
	// Started is set if flags and arguments were fine: an error before is one
	// of usage.
	Started bool
	// Timeout of a call, and of a write with its retries.
	Timeout time.Duration
}

// Connected makes a command's RunE from a function that uses a session. Calls with its
// context act for the tenant; those with the command's context do not, and have the same
// policy.
func (c *Flags) Connected(run func(ctx context.Context, s *Session, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		s, err := c.Connect()
		if err != nil {
			return err
		}
		defer s.Conn.Close()
		cmd.SetContext(conn.WithPolicy(cmd.Context(), c.policy()))
		return run(s.ActFor(cmd.Context()), s, args)
	}
}

// policy reports long waits and, once, old data.
func (c *Flags) policy() conn.Policy {
	var old sync.Once
	return conn.Policy{
		Timeout: c.Timeout,
		Waiting: func(what string) { fmt.Fprintf(output.Stderr, "waiting for %s\n", what) },
		MaxAge:  5 * time.Second,
		Old: func(age time.Duration) error {
			old.Do(func() {
				output.Warn(fmt.Sprintf("the gateway's data is %s old: it does not hear from the journal or its upstream", age.Round(100*time.Millisecond)))
			})
			return nil
		},
	}
}

// FailIfOlder makes calls with the context fail, instead of a warning, if an answer's data is
// older than maxAge.
func (c *Flags) FailIfOlder(ctx context.Context, maxAge time.Duration) context.Context {
	p := c.policy()
	p.MaxAge = maxAge
	p.Old = func(age time.Duration) error {
		err := fmt.Errorf("the gateway's data is %s old, and --max-age is %s", age.Round(100*time.Millisecond), maxAge)
		return failure.Try(failure.With(failure.Other, err), "stele doctor, or another gateway")
	}
	return conn.WithPolicy(ctx, p)
}

// warnNotChecked returns a function that warns of secrets which were not checked against
// their schemas. An answer to a write that was planned before does not repeat the warning.
func warnNotChecked() func(ledger.Tenant, uint64) {
	var mu sync.Mutex
	warned := make(map[ledger.Tenant]uint64)
	return func(t ledger.Tenant, secrets uint64) {
		mu.Lock()
		defer mu.Unlock()
		if secrets <= warned[t] {
			return
		}
		warned[t] = secrets
		of := ""
		if t != "" {
			of = " of " + string(t)
		}
		output.Warn(fmt.Sprintf("%s%s not checked against the schemas: that requires the reveal permission", output.Count(int(secrets), "secret"), of))
	}
}

// Connect opens a connection to the gateway that the flags, the environment or the
// context choose.
func (c *Flags) Connect() (*Session, error) {
	settings, err := contexts.Resolve(c.Choice)
	if err != nil {
		return nil, failure.With(failure.Usage, err)
	}
	if settings.Address == "" {
		return nil, failure.Try(failure.Usagef("no gateway is chosen"), "stele up, which writes a context, or --address HOST:PORT")
	}
	s := &Session{Printer: c.Printer(), Settings: settings, Timeout: c.Timeout}
	if settings.Tenant != "" {
		if s.Tenant, err = ledger.ParseTenant(settings.Tenant); err != nil {
			return nil, failure.With(failure.Usage, err)
		}
		if s.Tenant.Reserved() && s.Tenant != ledger.System {
			return nil, failure.Usagef("tenant %s: names that begin with _ are reserved, and only %s exists", s.Tenant, ledger.System)
		}
	}
	if own := s.TokenTenant(); own != "" && !settings.TenantChosen {
		s.Tenant = own
	}
	if s.Conn, err = conn.Open(settings.Address, settings.TLS, settings.ReadToken); err != nil {
		return nil, failure.With(failure.Usage, err)
	}
	s.Conn.NotChecked = warnNotChecked()
	s.Config, s.Ledger, s.Sinks = stelev1.NewConfigClient(s.Conn), stelev1.NewLedgerClient(s.Conn), stelev1.NewSinksClient(s.Conn)
	return s, nil
}

// Printer prints to standard output in the chosen format.
func (c *Flags) Printer() *output.Printer {
	return output.NewPrinter(os.Stdout, output.Format(c.Format))
}
