package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/claims"
	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/cmd/stele/internal/contexts"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/moment"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
)

// session is one command's connection to a gateway.
type session struct {
	*output.Printer
	config   stelev1.ConfigClient
	ledger   stelev1.LedgerClient
	sinks    stelev1.SinksClient
	settings contexts.Settings
	// tenant as far as the settings or the token tell; empty where only the
	// gateway knows.
	tenant ledger.Tenant
	// historyStart is where the log that was listed last ends because the gateway keeps no
	// earlier history; nil if it does not.
	historyStart *stelev1.HistoryStart
	conn         *grpc.ClientConn
	timeout      time.Duration // of a call, and of a write with its retries
}

// connected makes a command's RunE from what it does with a session. Calls with
// its context act for the tenant.
func (c *cli) connected(run func(ctx context.Context, s *session, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		s, err := c.connect()
		if err != nil {
			return err
		}
		defer s.conn.Close()
		ctx := conn.Bounded(cmd.Context(), conn.Wait{Timeout: c.timeout, Notice: func(what string) { fmt.Fprintf(os.Stderr, "waiting for %s\n", what) }})
		return run(s.actFor(ctx), s, args)
	}
}

func (c *cli) connect() (*session, error) {
	settings, err := contexts.Resolve(c.choice)
	if err != nil {
		return nil, failure.With(failure.Usage, err)
	}
	if settings.Address == "" {
		return nil, failure.Try(failure.Usagef("no gateway is chosen"), "stele up, which writes a context, or --address HOST:PORT")
	}
	s := &session{Printer: c.printer(), settings: settings, timeout: c.timeout}
	if settings.Tenant != "" {
		if s.tenant, err = ledger.ParseTenant(settings.Tenant); err != nil {
			return nil, failure.With(failure.Usage, err)
		}
		if s.tenant.Reserved() && s.tenant != ledger.System {
			return nil, failure.Usagef("tenant %s: names that begin with _ are reserved, and only %s exists", s.tenant, ledger.System)
		}
	}
	if own := s.tokenTenant(); own != "" && !settings.TenantChosen {
		s.tenant = own
	}
	if s.conn, err = conn.Dial(settings.Address, settings.TLS, settings.ReadToken); err != nil {
		return nil, failure.With(failure.Usage, err)
	}
	s.config, s.ledger, s.sinks = stelev1.NewConfigClient(s.conn), stelev1.NewLedgerClient(s.conn), stelev1.NewSinksClient(s.conn)
	return s, nil
}

func (c *cli) printer() *output.Printer {
	return output.NewPrinter(os.Stdout, output.Format(c.format))
}

// tokenTenant is the tenant that the token is bound to. What is wrong with the
// token, the gateway says.
func (s *session) tokenTenant() ledger.Tenant {
	token, err := s.settings.ReadToken()
	if err != nil {
		return ""
	}
	cl, err := claims.Read(token)
	if err != nil {
		return ""
	}
	return ledger.Tenant(cl.Tenant)
}

// actFor names the tenant to the gateway, unless the token does.
func (s *session) actFor(ctx context.Context) context.Context {
	if s.tenant == "" || !s.settings.TenantChosen && s.tokenTenant() != "" {
		return ctx
	}
	return conn.AsTenant(ctx, s.tenant)
}

// at reads a flag --at; nil for head.
func (s *session) at(ctx context.Context, text string) (*stelev1.At, error) {
	if text == "" {
		return nil, nil
	}
	m, err := parseMoment(text)
	if err != nil {
		return nil, err
	}
	return s.resolve(ctx, m)
}

func parseMoment(text string) (moment.Moment, error) {
	m, err := moment.Parse(text, time.Now())
	if err != nil {
		return m, failure.With(failure.Usage, err)
	}
	return m, nil
}

// bound reads a flag --since or --until. A bare year is refused: it would be taken as a
// revision.
func (s *session) bound(ctx context.Context, flag, text string) (*stelev1.At, error) {
	if year, err := strconv.Atoi(text); err == nil && len(text) == 4 && year >= 1970 && year < 2200 {
		return nil, failure.Usagef("--%s %s: write @%s for the revision, or %s-01-01 for the year", flag, text, text, text)
	}
	return s.at(ctx, text)
}

// resolve asks for the head where the moment counts back from it.
func (s *session) resolve(ctx context.Context, m moment.Moment) (*stelev1.At, error) {
	at, err := m.At(func() (ledger.Revision, error) {
		head, err := s.ledger.GetHead(ctx, &stelev1.GetHeadRequest{})
		return ledger.Revision(head.GetSnapshot().GetHead()), err
	})
	var before *moment.BeforeFirstError
	if errors.As(err, &before) {
		return nil, failure.With(failure.NotFound, err)
	}
	return at, err
}

// name writes a state as people do: acme@42.
func (s *session) name(revision uint64) string {
	return fmt.Sprintf("%s%s", s.tenant, ledger.Revision(revision))
}

// manyKeys is how many of the largest values fit an answer.
const manyKeys = 15

// entriesOf reads keys, of which each may hold the largest value, at a revision;
// those that are not set are left out.
func (s *session) entriesOf(ctx context.Context, keys []string, at ledger.Revision) (map[string]*stelev1.Entry, error) {
	entries := make(map[string]*stelev1.Entry, len(keys))
	for some := range slices.Chunk(keys, manyKeys) {
		resp, err := s.config.BatchGet(ctx, &stelev1.BatchGetRequest{Keys: some, At: atRevision(at)})
		if err != nil {
			return nil, err
		}
		for _, e := range resp.Entries {
			entries[e.Key] = e
		}
	}
	return entries, nil
}

func atRevision(rev ledger.Revision) *stelev1.At {
	return &stelev1.At{Point: &stelev1.At_Revision{Revision: uint64(rev)}}
}

// entries calls f for every page of the keys under the prefix.
func (s *session) entries(ctx context.Context, req *stelev1.ListRequest, f func([]*stelev1.Entry) error) error {
	for {
		resp, err := s.config.List(ctx, req)
		if err != nil {
			return err
		}
		if err := f(resp.Entries); err != nil {
			return err
		}
		if req.PageToken = resp.NextPageToken; req.PageToken == "" {
			return nil
		}
		req.PageSize = laterPages
	}
}

// The first page of a listing is short, so that its first line is printed at once.
const (
	firstPage  = 500
	laterPages = 10_000
)
