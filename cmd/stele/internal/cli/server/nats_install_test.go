package server

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stelehq/stele/cmd/stele/internal/certs/certstest"
	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/cmd/stele/internal/permissions"
	"github.com/stelehq/stele/internal/porttest"
)

// The three servers of docs/serve.md, with the accounts and the nkey of docs/nats.md, take
// the streams of a ledger.
func TestNatsInstall_DocumentedServers(t *testing.T) {
	page, err := os.ReadFile("../../../../../docs/serve.md")
	if err != nil {
		t.Fatal(err)
	}
	_, conf, found := strings.Cut(string(page), "```\n# nats.conf")
	conf, _, ends := strings.Cut(conf, "```")
	if !found || !ends {
		t.Fatal("docs/serve.md has no nats.conf")
	}
	dir := t.TempDir()
	authority := certstest.New(t, dir)
	files, _ := authority.Issue(t, dir, "server")
	files.CA = authority.File

	nkey := filepath.Join(dir, "install.nk")
	var public strings.Builder
	if err := newNKey(&public, nkey); err != nil {
		t.Fatal(err)
	}
	t.Setenv(permissions.Variable(permissions.Install), strings.TrimSpace(public.String()))
	var accounts strings.Builder
	if err := permissions.WriteConfig(&accounts, permissions.Plan{Users: [][]string{{permissions.Install}}}.Account()); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("accounts.conf", accounts.String())

	const servers = 3
	clients, routes, monitors := porttest.Free(t, servers), porttest.Free(t, servers), porttest.Free(t, servers)
	o := natsOptions{nats: node.NATS{URL: strings.Join(clients, ","), NKey: nkey, TLS: files}, replicas: servers}
	for i := range servers {
		replaced := strings.NewReplacer(
			"server_name: n1", fmt.Sprintf("server_name: n%d", i+1), "0.0.0.0:4222", clients[i], "0.0.0.0:6222", routes[i], "127.0.0.1:8222", monitors[i],
			"n1:6222", routes[0], "n2:6222", routes[1], "n3:6222", routes[2], "/var/lib/nats", t.TempDir(),
			"/etc/nats/server.pem", files.Cert, "/etc/nats/server.key", files.Key, "/etc/nats/ca.pem", files.CA,
		)
		options, err := server.ProcessConfigFile(write(fmt.Sprintf("n%d.conf", i+1), "#"+replaced.Replace(conf)))
		if err != nil {
			t.Fatal(err)
		}
		options.NoSigs, options.NoLog = true, true
		s, err := server.NewServer(options)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() {
			s.Shutdown()
			s.WaitForShutdown()
		})
		o.natsMonitor = append(o.natsMonitor, "http://"+monitors[i])
	}
	var out strings.Builder
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		err := install(t.Context(), &out, o)
		if err == nil {
			break
		}
		if time.Now().After(deadline) { // the servers elect a leader first
			t.Fatal(err)
		}
	}
	if !strings.Contains(out.String(), "has all its streams") {
		t.Errorf("it prints %q", out.String())
	}
}
