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
// context act for the tenant.
func (c *Flags) Connected(run func(ctx context.Context, s *Session, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		s, err := c.Connect()
		if err != nil {
			return err
		}
		defer s.Conn.Close()
		return run(s.ActFor(conn.WithPolicy(cmd.Context(), c.policy())), s, args)
	}
}

// policy reports long waits and, once, old data.
func (c *Flags) policy() conn.Policy {
	var old sync.Once
	return conn.Policy{
		Timeout: c.Timeout,
		Waiting: func(what string) { fmt.Fprintf(output.Stderr, "waiting for %s\n", what) },
		Old: func(age time.Duration) {
			old.Do(func() {
				output.Warn(fmt.Sprintf("the gateway's data is %s old: it does not hear from the journal or its upstream", age.Round(100*time.Millisecond)))
			})
		},
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
	s.Config, s.Ledger, s.Sinks = stelev1.NewConfigClient(s.Conn), stelev1.NewLedgerClient(s.Conn), stelev1.NewSinksClient(s.Conn)
	return s, nil
}

// Printer prints to standard output in the chosen format.
func (c *Flags) Printer() *output.Printer {
	return output.NewPrinter(os.Stdout, output.Format(c.Format))
}
