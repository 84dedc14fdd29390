package browsertest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/certs"
	"github.com/stelehq/stele/cmd/stele/internal/certs/certstest"
	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/internal/gateway/console/login"
	"github.com/stelehq/stele/internal/gateway/console/login/oidctest"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/porttest"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// hostile is text that tries to become markup.
const hostile = `"><img src=x onerror="document.title='pwned'"><script>document.title='pwned'</script>'--${{<svg/onload=alert(1)>`

// world is a whole process with its console, and an identity provider of another site.
type world struct {
	// URL is the address of the console, and Issuer the address of the provider.
	URL, Issuer string
	// Link logs a user in once.
	Link string
	// Hostile is text that tries to become markup.
	Hostile string
	// Files is the folder of the sink "files".
	Files string
	// Tokens by user: reader and writer of acme, limited writes under one
	// prefix only, operator acts for every tenant.
	Tokens map[string]string

	provider *oidctest.Provider
	ledger   stelev1.LedgerClient
}

// newWorld starts a world, with or without TLS.
func newWorld(t *testing.T, secure bool) *world {
	t.Helper()
	p := oidctest.Start(t)
	web := porttest.Free(t, 1)[0] // the redirect URL of a login must be known before the process runs
	_, port, _ := net.SplitHostPort(web)
	w := &world{URL: "http://localhost:" + port, Issuer: p.URL, Hostile: hostile, provider: p, Files: t.TempDir(), Tokens: make(map[string]string)}
	cfg := node.Config{
		Data: t.TempDir(), Listen: "127.0.0.1:0", HTTP: "127.0.0.1:0", Web: web, Roles: node.Roles, Log: slog.New(slog.DiscardHandler),
		Routes: localRoutes(t, w.Files), Version: "test", AllowedHosts: []string{"stele.test"},
	}
	cfg.CheckpointKey, cfg.SecretsKey = cfg.Data+"/checkpoint.key", cfg.Data+"/secrets.key"
	if secure {
		w.URL = "https://localhost:" + port
		dir := t.TempDir()
		files, _ := certstest.New(t, dir).Issue(t, dir, "console")
		var err error
		if cfg.HTTPTLS, err = certs.Server(files, cfg.Log); err != nil {
			t.Fatal(err)
		}
	}
	p.RedirectURL = w.URL + login.Callback
	p.Claims = map[string]any{"tenant": "acme", "roles": "writer"}
	for name, claims := range map[string]map[string]any{
		"reader":   {"tenant": "acme", "roles": "reader"},
		"writer":   {"tenant": "acme", "roles": "writer"},
		"limited":  {"tenant": "acme", "roles": "writer", "prefixes": []string{"tenantconfig/"}},
		"hostile":  {"tenant": "acme", "roles": "writer", "sub": hostile},
		"operator": {"tenant": nil, "roles": "operator admin"},
		"long":     {"tenant": "acme", "roles": "writer", "groups": strings.Repeat("group ", 1000)},
	} {
		full := map[string]any{"aud": "stele", "sub": name}
		for k, v := range claims {
			full[k] = v
		}
		w.Tokens[name] = p.Sign(full)
	}
	keys, err := identity.OpenKeyring(t.Context(), identity.KeyringConfig{Issuer: p.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(keys.Close)
	if cfg.Verifier, err = identity.NewVerifier(identity.Config{Keys: keys, Issuer: p.URL, Audience: "stele"}); err != nil {
		t.Fatal(err)
	}
	client, err := identity.Client(identity.KeyringConfig{Issuer: p.URL})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Console.Provider, err = login.NewProvider(login.ProviderConfig{Issuer: p.URL, URL: w.URL, ClientID: p.ClientID, ClientSecret: p.ClientSecret, Client: client})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Console.Link = login.NewLink(func() (string, error) { return w.Tokens["operator"], nil })
	cfg.Console.Mint = func(c identity.Claims) (string, error) {
		return p.Sign(map[string]any{"aud": "stele", "sub": c.Subject, "tenant": c.Tenant, "roles": c.Roles, "iat": time.Now().Unix()}), nil
	}
	w.Link = w.URL + "/login?code=" + cfg.Console.Link.Code()
	w.run(t, cfg)
	return w
}

// run runs the process until the test ends.
func (w *world) run(t *testing.T, cfg node.Config) {
	t.Helper()
	n, err := node.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	cc, err := conn.Dial(n.GRPC(), certs.Files{}, func() (string, error) { return w.Tokens["operator"], nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	w.ledger = stelev1.NewLedgerClient(cc)
}

// commit writes pairs of key and value; an empty value deletes.
func (w *world) commit(t *testing.T, tenant ledger.Tenant, message string, pairs ...string) {
	t.Helper()
	req := &stelev1.CommitRequest{Message: message}
	for i := 0; i < len(pairs); i += 2 {
		req.Changes = append(req.Changes, &stelev1.Change{Key: pairs[i], Value: pairs[i+1], Delete: pairs[i+1] == ""})
	}
	if _, err := w.ledger.Commit(conn.AsTenant(t.Context(), tenant), req); err != nil {
		t.Fatal(err)
	}
}

// fill gives acme a history of some weeks, and initech a base.
func (w *world) fill(t *testing.T) {
	t.Helper()
	begun := time.Now().Add(-21 * 24 * time.Hour)
	authors := []string{"ann@acme.example", "ben@acme.example", "deploy-bot"}
	for i := range 60 {
		req := &stelev1.CommitRequest{
			Message: []string{"raise the limit after the load test", "more connections for the sale", "as it was before", "new flag for the checkout"}[i%4],
			Import:  &stelev1.Import{Time: timestamppb.New(begun.Add(time.Duration(i) * 8 * time.Hour)), Author: authors[i%3]},
			Changes: []*stelev1.Change{{Key: "tenantconfig/checkout/timeout_ms", Value: fmt.Sprint(250 + i*10)}},
		}
		switch i % 4 {
		case 0:
			req.Changes = append(req.Changes, &stelev1.Change{Key: "paramconfig/db/pool", Value: fmt.Sprintf(`{"min":2,"max":%d,"hosts":["db-1","db-%d"],"options":{"tls":true,"retries":%d}}`, 10+i, i, i%3)})
		case 1:
			req.Changes = append(req.Changes, &stelev1.Change{Key: fmt.Sprintf("tenantconfig/features/flag_%02d", i), Value: fmt.Sprint(i%8 < 4)})
		case 3:
			req.Changes = append(req.Changes, &stelev1.Change{Key: fmt.Sprintf("tenantconfig/mail/template_%02d", i/4), Value: fmt.Sprintf(`"Dear customer, your order number %d is on its way."`, i)})
		}
		if _, err := w.ledger.Commit(conn.AsTenant(t.Context(), "acme"), req); err != nil {
			t.Fatal(err)
		}
	}
	w.commit(t, "acme", "milliseconds", "_schema/tenantconfig/checkout/timeout_ms", `{"type":"integer","minimum":1,"maximum":60000}`)
	w.commit(t, "_system", "flags are yes or no", "_schema/tenantconfig/features", `{"type":"boolean"}`)
	for i := range 12 {
		w.commit(t, "globex", "set up", fmt.Sprintf("tenantconfig/shop/setting_%d", i), fmt.Sprint(i))
	}
	w.commit(t, "globex", "the same pool as acme", "paramconfig/db/pool", `{"min":2,"max":20}`)
	w.commit(t, "defaults", "platform", "theme/color", `"light"`, "theme/font", `"sans"`)
	w.commit(t, "initech", "ours", "theme/font", `"serif"`)
	w.commit(t, "initech", "inherit", string(ledger.BasesKey), string(ledger.BasesValue([]ledger.Base{{Tenant: "defaults", Revision: 1, Follow: true}})))
}

// localRoutes send every key to a folder, except those below "unrouted/".
func localRoutes(t *testing.T, folder string) *routes.Table {
	t.Helper()
	table, err := routes.Parse(fmt.Appendf(nil, `{
		"sinks": {"files": {"kind": "directory", "path": %q}},
		"routes": [{"prefix": "", "sinks": ["files"]}, {"prefix": "unrouted/", "sinks": []}]
	}`, folder))
	if err != nil {
		t.Fatal(err)
	}
	return table
}
