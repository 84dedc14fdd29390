package console_test

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/ledger/secret"
)

// TestSecrets are shown only to users who have permission and ask for it.
func TestSecrets(t *testing.T) {
	f := start(t, func(f *fixture, c *gateway.Config) {
		text, err := secret.GenerateKEK()
		if err != nil {
			t.Fatal(err)
		}
		kek, err := secret.ParseKEK(text)
		if err != nil {
			t.Fatal(err)
		}
		table, err := routes.Parse([]byte(`{"sinks":{},"routes":[{"prefix":"s/","secret":true}]}`))
		if err != nil {
			t.Fatal(err)
		}
		c.Routes = routes.NewSource(c.Replica, table, slog.New(slog.DiscardHandler))
		c.Secrets = secret.New(secret.Config{KEK: kek, Replica: c.Replica, Routes: c.Routes, Keys: func() (secret.Keys, error) {
			return f.node.Journal.OpenBucket(context.Background(), journal.Keys)
		}})
		seal := c.Secrets.Seal
		c.Ledger = sync.OnceValues(func() (*ledger.Ledger, error) {
			l := ledger.New(ledger.Config{Journal: f.node.Journal, Replica: f.node.Replica, Seal: seal})
			t.Cleanup(l.Close)
			return l, nil
		})
	})
	const canary = "canary-4d1f-secret"
	f.set(t, f.as(t, "acme"), "one", "s/password", `"`+canary+`-old"`)
	f.set(t, f.as(t, "acme"), "two", "s/password", `"`+canary+`"`)
	writer := f.writer(t, "acme")
	revealer := f.login(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Reader, identity.Revealer}})
	for _, v := range []*browser{writer, revealer} {
		for _, path := range []string{"/acme/keys/s/", "/acme/keys/s/password", "/acme/keys/s/password?edit=1", "/acme/raw/s/password", "/acme/history", "/acme/commits/2", "/acme/commits/2/revert", "/acme/delete/s/password", "/acme/reveal/s/password"} {
			if a := v.get(t, path); strings.Contains(a.body, canary) {
				t.Errorf("%s shows the secret", path)
			}
		}
	}
	if a := writer.get(t, "/acme/keys/s/password"); !strings.Contains(a.main(), "secret") || strings.Contains(a.main(), "Reveal") && !strings.Contains(a.main(), "Revealing") {
		t.Errorf("a writer's page: %s", brief(a.main()))
	}
	if a := writer.post(t, "/acme/reveal/s/password", nil); a.code != http.StatusForbidden || strings.Contains(a.body, canary) || !strings.Contains(a.body, "/acme/access?operation=reveal&amp;what=s%2Fpassword#ask") {
		t.Errorf("revealed to a writer: %d %s", a.code, brief(a.text()))
	}
	form := revealer.get(t, "/acme/keys/s/password").form(t, "/acme/reveal/s/password")
	if a := revealer.post(t, "/acme/reveal/s/password", form); a.code != http.StatusOK || !strings.Contains(a.main(), canary) || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("revealed: %d %s", a.code, brief(a.text()))
	}
	// Its form does not begin with the mask, which would be written as the value.
	if form := writer.get(t, "/acme/keys/s/password?edit=1").form(t, "/acme/keys/s/password"); form.Get("value") != "" {
		t.Errorf("the form holds %q", form.Get("value"))
	}
}
