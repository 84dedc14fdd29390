package node_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/cmd/stele/internal/permissions"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/readlog"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/ledger/verify"
	"github.com/stelehq/stele/internal/porttest"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
)

// confined is a NATS server with the account of a plan, each user with an nkey.
type confined struct {
	*natsServer
	plan       permissions.Plan
	dir        string
	violations *violationLog

	signer   *identity.Signer
	verifier *identity.Verifier
}

// violationLog holds what the server logs about operations without permission.
type violationLog struct {
	mu    sync.Mutex
	lines []string
}

func (l *violationLog) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.lines
	l.lines = nil
	return lines
}

func (l *violationLog) Errorf(format string, args ...any) {
	if line := fmt.Sprintf(format, args...); strings.Contains(line, "iolation") {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lines = append(l.lines, line)
	}
}

func (l *violationLog) Noticef(string, ...any) {}
func (l *violationLog) Warnf(string, ...any)   {}
func (l *violationLog) Fatalf(string, ...any)  {}
func (l *violationLog) Debugf(string, ...any)  {}
func (l *violationLog) Tracef(string, ...any)  {}

var confinedPlan = permissions.Plan{
	Users: [][]string{{"ledger"}, {"gateway"}, {"signer"}, {"projector"}, {permissions.Install}, {permissions.Backup}},
}

// confinedStreams are all that a ledger has.
var confinedStreams = []string{"STELE", "STELE-CHECKPOINTS", "STELE-READS", "STELE-SINKS", "STELE-PARKED", "STELE-KEYS"}

// newNKey makes an nkey, writes its seed to the user's file, and returns its public key.
func (c *confined) newNKey(t *testing.T, user string) (public string) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	if public, err = pair.PublicKey(); err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.seed(user), seed, 0o600); err != nil {
		t.Fatal(err)
	}
	return public
}

// newConfined starts the server and installs a ledger as the plan's user for that.
func newConfined(t *testing.T) *confined {
	t.Helper()
	c := startConfined(t)
	nc := c.connect(t, permissions.Install)
	j, err := journal.Open(t.Context(), nc, journal.Config{UnsafeSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := j.CreateAuxStreams(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// startConfined starts the server.
func startConfined(t *testing.T) *confined {
	t.Helper()
	c := &confined{plan: confinedPlan, dir: t.TempDir(), violations: &violationLog{}}
	account := c.plan.Account()
	for _, u := range account.Users {
		t.Setenv(permissions.Variable(u.Name), c.newNKey(t, u.Name))
	}
	file, err := os.Create(filepath.Join(c.dir, "nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(file, "listen: 127.0.0.1:%d\njetstream { store_dir: %q, sync_interval: always }\n", freePort(t), t.TempDir())
	if err := permissions.WriteConfig(file, account); err != nil {
		t.Fatal(err)
	}
	file.Close()
	opts, err := server.ProcessConfigFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	opts.NoSigs = true
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	srv.SetLoggerV2(c.violations, false, false, false)
	srv.Start()
	if !srv.ReadyForConnections(time.Minute) {
		t.Fatal("the nats-server does not start")
	}
	c.natsServer = &natsServer{opts: opts, Server: srv}
	t.Cleanup(c.natsServer.stop)

	if c.signer, err = identity.OpenSigner(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if c.verifier, err = identity.NewVerifier(identity.Config{Keys: c.signer.Keys(), Issuer: identity.LocalIssuer, Audience: identity.LocalAudience}); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *confined) seed(user string) string { return filepath.Join(c.dir, user+".nk") }

// connect connects as one of the users.
func (c *confined) connect(t *testing.T, user string) *nats.Conn {
	t.Helper()
	seed, err := nats.NkeyOptionFromSeed(c.seed(user))
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(c.ClientURL(), seed, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// run starts a process as one of the users.
func (c *confined) run(t *testing.T, user string, cfg node.Config) *process {
	t.Helper()
	cfg.Data, cfg.Listen, cfg.HTTP = t.TempDir(), porttest.Free(t, 1)[0], "127.0.0.1:0"
	cfg.NATS, cfg.Verifier, cfg.Log = &node.NATS{URL: c.ClientURL(), NKey: c.seed(user)}, c.verifier, slog.New(slog.DiscardHandler)
	cfg.Journal = journal.Config{UnsafeSync: true}
	p := &process{cfg: cfg, signer: c.signer}
	p.start(t)
	t.Cleanup(func() { p.stop() })
	return p
}

func (p *process) set(t *testing.T, tenant ledger.Tenant, key, value string) {
	t.Helper()
	until(t, fmt.Sprintf("commit of %s for %s", key, tenant), func() bool {
		_, err := p.ledger.Commit(conn.AsTenant(t.Context(), tenant), &stelev1.CommitRequest{
			RequestId: string(tenant) + key + value, Changes: []*stelev1.Change{{Key: key, Value: value}},
		})
		return err == nil
	})
}

// dial calls the process as acme's admin.
func (p *process) dial(t *testing.T) *grpc.ClientConn {
	t.Helper()
	cc, err := conn.Dial(p.grpc, p.tls, func() (string, error) {
		return p.signer.Mint(identity.Claims{Subject: "ann", Tenant: "acme", Roles: []identity.Role{identity.Admin}, TTL: time.Hour})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return cc
}

func (p *process) has(t *testing.T, tenant ledger.Tenant, key, value string) func() bool {
	return func() bool {
		resp, err := p.config.Get(conn.AsTenant(t.Context(), tenant), &stelev1.GetRequest{Key: key})
		return err == nil && resp.Entry.GetValue() == value
	}
}

// Errors of the servers' set-up say what is missing.
func TestNATS_SetUpErrors(t *testing.T) {
	c := startConfined(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err := journal.Open(ctx, c.connect(t, "ledger"), journal.Config{UnsafeSync: true})
	if err == nil || !strings.Contains(err.Error(), "create the streams first, with stele nats-install") || !strings.Contains(err.Error(), "$JS.API.STREAM.") {
		t.Errorf("without streams: %v", err)
	}
	_, err = journal.Open(t.Context(), c.connect(t, permissions.Install), journal.Config{UnsafeSync: true, Replicas: 3})
	if err == nil || !strings.Contains(err.Error(), "the NATS server is not part of a cluster: 3 copies of each stream") {
		t.Errorf("three copies on one server: %v", err)
	}

	public := c.newNKey(t, "stranger")
	for name, from := range map[string]node.NATS{
		"no user of the servers has " + public: {URL: c.ClientURL(), NKey: c.seed("stranger")},
		"the servers require credentials":      {URL: c.ClientURL()},
	} {
		if _, err := from.Connect(slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want %s", err, name)
		}
	}
}

// Each process works with the rights of its roles alone, and never asks for more.
func TestPermissions_EveryRoleWorks(t *testing.T) {
	node.BindReadsAtOnce(t)
	c := newConfined(t)
	kek := filepath.Join(t.TempDir(), "kek")
	out := t.TempDir()
	table, err := routes.Parse(fmt.Appendf(nil, `{
		"sinks": {"files": {"kind": "directory", "path": %q}},
		"routes": [{"prefix": "files/", "sinks": ["files"]}, {"prefix": "hidden/", "sinks": [], "secret": true}]
	}`, out))
	if err != nil {
		t.Fatal(err)
	}
	writer := c.run(t, "ledger", node.Config{Roles: []string{node.RoleLedger}, Routes: table, SecretsKey: kek})
	reader := c.run(t, "gateway", node.Config{Roles: []string{node.RoleGateway}, Routes: table, SecretsKey: kek})
	signer := c.run(t, "signer", node.Config{Roles: []string{node.RoleSigner}, CheckpointKey: filepath.Join(t.TempDir(), "checkpoint.key")})
	c.run(t, "projector", node.Config{Roles: []string{node.RoleProjector}, Routes: table, SecretsKey: kek})

	writer.set(t, "_system", "policy/acme/reads", `{"record":["recorded/"]}`)
	for _, tenant := range []ledger.Tenant{"acme", "globex", "initech"} {
		writer.set(t, tenant, "files/a", `"for `+string(tenant)+`"`)
		until(t, "the gateway has it", reader.has(t, tenant, "files/a", `"for `+string(tenant)+`"`))
	}
	acme := conn.AsTenant(t.Context(), "acme")

	// A gateway knows how old its answers are, and continues after a restart.
	fresh := func() bool {
		resp, err := reader.ledger.GetStatus(acme, &stelev1.GetStatusRequest{})
		return err == nil && resp.Journal.GetAge() != nil && resp.Journal.Age.AsDuration() < 2*time.Second
	}
	until(t, "a gateway that is current", fresh)
	reader.stop()
	writer.set(t, "acme", "files/a", `2`)
	writer.set(t, "initech", "files/a", `2`)
	reader.start(t)
	until(t, "a gateway that has caught up", reader.has(t, "acme", "files/a", "2"))
	until(t, "a gateway that has caught up", reader.has(t, "initech", "files/a", "2"))
	until(t, "a gateway that is current again", fresh)

	// Reads are recorded, and listed.
	writer.set(t, "acme", "recorded/a", "1")
	until(t, "a gateway that has it", reader.has(t, "acme", "recorded/a", "1"))
	until(t, "the record of a read", func() bool {
		reader.has(t, "acme", "recorded/a", "1")()
		resp, err := reader.ledger.ListReads(acme, &stelev1.ListReadsRequest{})
		return err == nil && len(resp.Reads) > 0
	})
	// The process with the ledger binds what is read at the gateway.
	var bound []uint64 // how many records each digest covers
	until(t, "digests of reads at a gateway without a ledger", func() bool {
		reader.has(t, "acme", "recorded/a", "1")()
		resp, err := reader.config.Get(conn.AsTenant(t.Context(), ledger.System), &stelev1.GetRequest{Key: string(ledger.ReadsDigest)})
		if err != nil {
			return false
		}
		d, err := readlog.ParseDigest(ledger.Value(resp.Entry.Value))
		if err != nil {
			t.Fatal(err)
		}
		if len(bound) == 0 || d.Count > bound[len(bound)-1] {
			bound = append(bound, d.Count)
		}
		return len(bound) > 2
	})

	// Secrets are encrypted, revealed and shredded.
	writer.set(t, "acme", "hidden/a", `"s3cret"`)
	until(t, "a secret that is revealed", func() bool {
		resp, err := stelev1.NewConfigClient(reader.dial(t)).Get(t.Context(), &stelev1.GetRequest{Key: "hidden/a", Reveal: true})
		return err == nil && resp.Entry.GetValue() == `"s3cret"`
	})
	if _, err := writer.ledger.RotateTenantKey(acme, &stelev1.RotateTenantKeyRequest{NewKey: true}); err != nil {
		t.Errorf("rotate a key: %v", err)
	}
	if _, err := writer.ledger.ShredTenant(acme, &stelev1.ShredTenantRequest{Confirm: "acme"}); err != nil {
		t.Errorf("shred: %v", err)
	}

	// The signer signs.
	until(t, "a checkpoint", func() bool {
		_, err := stelev1.NewProofClient(signer.dial(t)).GetCheckpoint(t.Context(), &stelev1.GetCheckpointRequest{CoversRevision: 1})
		return err == nil
	})

	// The projector writes files, parks what cannot be one, and takes it back; it is
	// asked by way of another process.
	writer.set(t, "acme", "files/a/below", "1")
	sinks := stelev1.NewSinksClient(reader.dial(t))
	parked := func() int {
		resp, err := sinks.ListParked(t.Context(), &stelev1.ListParkedRequest{Sink: "files"})
		if err != nil {
			return -1
		}
		return len(resp.Parked)
	}
	until(t, "a parked key", func() bool { return parked() == 1 })
	if _, err := writer.ledger.Commit(acme, &stelev1.CommitRequest{RequestId: "gone", Changes: []*stelev1.Change{{Key: "files/a", Delete: true}}}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(out, "acme", "files", "a", "below")
	until(t, "the file of what was parked", func() bool {
		if _, err := sinks.Retry(t.Context(), &stelev1.RetryRequest{Sink: "files"}); err != nil {
			return false
		}
		_, err := os.Stat(file)
		return err == nil && parked() == 0
	})

	if lines := c.violations.take(); len(lines) > 0 {
		t.Errorf("%d times a process did what it may not, first: %s", len(lines), lines[0])
	}

	// The servers may be away for a while.
	c.stop()
	c.start(t)
	writer.set(t, "initech", "files/a", "3")
	until(t, "a gateway that reads on", reader.has(t, "initech", "files/a", "3"))
	until(t, "a gateway that is current in spite of that", fresh)
}

// attempt is a request that must be denied.
type attempt struct{ what, subject, body string }

// refuses makes the requests, and returns how many the server says that it refused.
// An answer to one of them is an error.
func (c *confined) refuses(t *testing.T, nc *nats.Conn, tried []attempt) int {
	t.Helper()
	c.violations.take()
	inbox := nc.NewInbox()
	answers, err := nc.SubscribeSync(inbox + ".*")
	if err != nil {
		t.Fatal(err)
	}
	defer answers.Unsubscribe()
	for i, try := range tried {
		if err := nc.PublishRequest(try.subject, fmt.Sprintf("%s.%d", inbox, i), []byte(try.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.FlushTimeout(10 * time.Second); err != nil { // then the server has looked at all of them
		t.Fatal(err)
	}
	for {
		m, err := answers.NextMsg(100 * time.Millisecond)
		if err != nil {
			return len(c.violations.take())
		}
		t.Errorf("%s is answered: %s", m.Subject, m.Data)
	}
}

// state is what each stream holds.
func (c *confined) state(t *testing.T) []string {
	t.Helper()
	js, err := jetstream.New(c.connect(t, permissions.Install))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, name := range confinedStreams { // install is not allowed to list streams
		s, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatalf("stream %s: %v", name, err)
		}
		info := s.CachedInfo()
		all = append(all, fmt.Sprintf("%s: %d to %d", name, info.State.FirstSeq, info.State.LastSeq))
	}
	return all
}

// No process changes or removes what the journal holds.
func TestPermissions_NoRoleChangesStreams(t *testing.T) {
	c := newConfined(t)
	c.run(t, "ledger", node.Config{Roles: []string{node.RoleLedger}}).set(t, "acme", "a", "1")
	before := c.state(t)
	tried := 0
	for _, user := range []string{"ledger", "gateway", "signer", "projector", permissions.Install, permissions.Backup} {
		var all []attempt
		try := func(subject string) { all = append(all, attempt{user, subject, `{"seq":1}`}) }
		for _, s := range confinedStreams {
			for _, ask := range []string{"UPDATE", "DELETE", "PURGE", "SNAPSHOT", "RESTORE", "PEER.REMOVE", "LEADER.STEPDOWN"} {
				if !(user == permissions.Backup && ask == "SNAPSHOT") {
					try("$JS.API.STREAM." + ask + "." + s)
				}
			}
			if !(user == "projector" && s == "STELE-PARKED" || user == "ledger" && s == "STELE-KEYS") {
				try("$JS.API.STREAM.MSG.DELETE." + s)
			}
			if user == permissions.Install {
				continue
			}
			try("$JS.API.STREAM.CREATE." + s)
			try("$JS.API.CONSUMER.LIST." + s)
			try("$JS.API.CONSUMER.NAMES." + s)
			for _, ask := range []string{"DELETE", "RESET", "PAUSE", "UNPIN", "DURABLE.CREATE"} {
				try("$JS.API.CONSUMER." + ask + "." + s + ".another")
			}
			try("$JS.API.DIRECT.GET." + s)
			try("$JS.API.CONSUMER.CREATE." + s)
		}
		if user != "ledger" && user != "projector" {
			try("stele.journal.v1")
		}
		if n := c.refuses(t, c.connect(t, user), all); n != len(all) {
			t.Errorf("the server refused %s %d of %d requests", user, n, len(all))
		}
		tried += len(all)
	}
	if after := c.state(t); !slices.Equal(after, before) {
		t.Errorf("the streams were %v and are %v", before, after)
	}
	t.Logf("%d requests of 6 users, 0 allowed", tried)
}

// A backup is taken with the rights of its own role, and those write no commit.
func TestPermissions_Backup(t *testing.T) {
	c := newConfined(t)
	c.run(t, "ledger", node.Config{Roles: []string{node.RoleLedger}}).set(t, "acme", "a", "1")
	signer := c.run(t, "signer", node.Config{Roles: []string{node.RoleSigner}, CheckpointKey: filepath.Join(t.TempDir(), "checkpoint.key")})
	until(t, "a checkpoint", func() bool {
		_, err := stelev1.NewProofClient(signer.dial(t)).GetCheckpoint(conn.AsTenant(t.Context(), "acme"), &stelev1.GetCheckpointRequest{CoversRevision: 1})
		return err == nil
	})
	nc := c.connect(t, permissions.Backup)
	c.violations.take()
	seen, err := verify.AskTree(t.Context(), nc)
	if err != nil || seen.Tree.Size == 0 || seen.Newest.Size == 0 {
		t.Fatalf("the process with the tree answers %+v, %v", seen, err)
	}
	b, err := journal.TakeBackup(t.Context(), nc, filepath.Join(t.TempDir(), "backup"), func(ctx context.Context, b *journal.BackupReader) error {
		report, err := verify.Backup(ctx, b, seen)
		if err == nil && len(report.Findings) > 0 {
			err = errors.New(report.Findings[0].String())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Streams) != len(confinedStreams) || b.Messages() == 0 {
		t.Errorf("it holds %+v", b)
	}
	if lines := c.violations.take(); len(lines) > 0 {
		t.Errorf("the server refused: %q", lines)
	}
	all := []attempt{{"a commit", "stele.journal.v1", "x"}}
	for _, s := range confinedStreams {
		all = append(all, attempt{"a message", "$JS.API.STREAM.MSG.GET." + s, `{"seq":1}`})
	}
	if n := c.refuses(t, nc, all); n != len(all) {
		t.Errorf("the server refused %d of %d requests", n, len(all))
	}
}
