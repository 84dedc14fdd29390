package systemtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/internal/porttest"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc/metadata"
)

// composition is the part of compose.yaml about its services.
type composition struct {
	dir      string
	pairs    []string // of replace
	replace  *strings.Replacer
	Services map[string]struct {
		Command     []string
		Environment map[string]string
	}
}

// openComposition reads the file. Hosts, ports and folders of containers are replaced
// by ones of this machine.
func openComposition(t *testing.T) *composition {
	t.Helper()
	const folder = "../../../scripts/deploy/docker"
	text, err := os.ReadFile(filepath.Join(folder, "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	c := &composition{dir: t.TempDir()}
	if err := yaml.Unmarshal(text, c); err != nil {
		t.Fatal(err)
	}
	routes, err := filepath.Abs(filepath.Join(folder, "stele.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	c.pairs = []string{
		"--listen=:7070", "--listen=127.0.0.1:0", "--http=:7071", "--http=127.0.0.1:0", "--web=:7072", "--web=127.0.0.1:0",
		"/etc/stele/jwks.json", filepath.Join(c.dir, "identity", "jwks.json"), "/etc/stele/stele.yaml", routes,
		"/var/lib/stele-keys", c.dir,
	}
	ports := []string{"4222", "6222", "8222"}
	for i, free := range porttest.Free(t, 3*len(ports)) {
		c.pairs = append(c.pairs, fmt.Sprintf("nats-%d:%s", 1+i/len(ports), ports[i%len(ports)]), free)
	}
	c.replace = strings.NewReplacer(c.pairs...)
	for i := 1; i <= 3; i++ {
		c.startNATS(t, folder, fmt.Sprintf("nats-%d", i))
	}
	return c
}

// startNATS runs one of the servers by their own file.
func (c *composition) startNATS(t *testing.T, folder, name string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	own := string(text)
	for _, port := range []string{"4222", "6222", "8222"} {
		own = strings.ReplaceAll(own, "0.0.0.0:"+port, name+":"+port)
	}
	own = c.replace.Replace(strings.ReplaceAll(own, "/data", filepath.Join(c.dir, name)))
	file := filepath.Join(c.dir, name+".conf")
	if err := os.WriteFile(file, []byte(own), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NATS_NAME", c.Services[name].Environment["NATS_NAME"])
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if !opts.SyncAlways || opts.ServerName != name {
		t.Fatalf("%s: server %q syncs always: %v", file, opts.ServerName, opts.SyncAlways)
	}
	opts.NoSigs, opts.NoLog = true, true
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
}

// start runs a service of the file.
func (c *composition) start(t *testing.T, name string) *process {
	t.Helper()
	s, ok := c.Services[name]
	if !ok {
		t.Fatalf("there is no service %s", name)
	}
	data := filepath.Join(c.dir, name)
	env := environment(filepath.Join(c.dir, "config.yaml"))
	for variable, value := range s.Environment {
		env = append(env, variable+"="+strings.ReplaceAll(c.replace.Replace(value), "/var/lib/stele", data))
	}
	var args []string
	for _, a := range s.Command {
		args = append(args, strings.ReplaceAll(c.replace.Replace(a), "/var/lib/stele", data))
	}
	// The defaults are ports that another process of this machine may have.
	for _, flag := range []string{"listen", "http", "web"} {
		if !strings.Contains(strings.Join(args, " "), "--"+flag+"=") {
			args = append(args, "--"+flag+"=127.0.0.1:0")
		}
	}
	return launch(t, env, "stele", args...)
}

// The files of scripts/deploy/docker are a ledger: what is written at the core is
// signed there, read at the edge, and reaches the projector's folder.
func TestDeploy_Compose(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster")
	}
	c := openComposition(t)
	mint := func(args ...string) string {
		cmd := exec.Command("stele", append([]string{"token", "mint", "--identity", filepath.Join(c.dir, "identity"), "--create"}, args...)...)
		cmd.Env, cmd.Stderr = environment(filepath.Join(c.dir, "config.yaml")), os.Stderr
		text, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	operator := mint("ops", "--roles", "operator")
	token := func() (string, error) { return operator, nil }

	core := serving(t, c.start(t, "core"), token)
	ctx := acting(t, "acme")
	request := &stelev1.CommitRequest{RequestId: "one", Changes: []*stelev1.Change{{Key: "tenantconfig/a", Value: "1"}}}
	commit := untilUp(t, ctx, core.ledger.Commit, request)
	edgeToken := filepath.Join(c.dir, "edge.token")
	if err := os.WriteFile(edgeToken, []byte(mint("edge", "--roles", "", "--replicates", "acme")), 0o600); err != nil {
		t.Fatal(err)
	}
	c.replace = strings.NewReplacer(append(c.pairs, "core:7070", strings.TrimPrefix(core.conn.Target(), "gateways:///"), "/etc/stele/edge.token", edgeToken)...)
	edge := serving(t, c.start(t, "edge"), token)
	got := untilUp(t, ctx, edge.config.Get, &stelev1.GetRequest{Key: "tenantconfig/a", MinRevision: commit.Revision})
	if got.Entry.GetValue() != "1" {
		t.Errorf("the edge has %v", got)
	}
	if _, err := edge.ledger.Commit(ctx, request); err == nil {
		t.Error("the edge takes writes")
	}
	others := metadata.NewOutgoingContext(t.Context(), nil)
	if _, err := edge.config.Get(conn.AsTenant(others, "globex"), &stelev1.GetRequest{Key: "tenantconfig/a"}); err == nil {
		t.Error("the edge answers for a tenant that it does not hold")
	}
	proofs := stelev1.NewProofClient(core.conn)
	await(t, "a signed checkpoint", func() bool {
		resp, err := proofs.GetCheckpoint(ctx, &stelev1.GetCheckpointRequest{})
		return err == nil && len(resp.Checkpoint) > 0
	})
	c.start(t, "projector")
	await(t, "the projector's file", func() bool {
		value, err := os.ReadFile(filepath.Join(c.dir, "projector", "materialized", "files", "acme", "tenantconfig", "a"))
		return err == nil && strings.TrimSpace(string(value)) == "1"
	})

	// Its backup is also a ledger on one machine.
	backup, one := filepath.Join(c.dir, "backup"), filepath.Join(c.dir, "one")
	for _, args := range [][]string{
		{"backup", backup, "--nats-url", c.replace.Replace(c.Services["core"].Environment["STELE_NATS_URL"])},
		{"restore", backup, "--data", one},
		{"verify", "--data", one, "--restored", "--key", filepath.Join(c.dir, "checkpoint.pub")},
	} {
		cmd := exec.Command("stele", args...)
		cmd.Env = environment(filepath.Join(c.dir, "config.yaml"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("stele %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
