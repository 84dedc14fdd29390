package node_test

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// A secret travels to an edge encrypted, and no file there contains it.
func TestEdge_SecretsStaySealed(t *testing.T) {
	const canary = "canary-41f7c0ffee"
	table, err := routes.Parse([]byte(`{"sinks": {"files": {"kind": "directory"}}, "routes": [{"prefix": "secret/", "sinks": ["files"], "secret": true}, {"prefix": "", "sinks": ["files"]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	run := processes(t, startNATS(t))
	core := run(node.Config{Roles: []string{node.RoleLedger, node.RoleGateway}, Routes: table, SecretsKey: filepath.Join(t.TempDir(), "secrets.key")})
	defer func() { core.stop() }()
	edge := run(node.Config{Roles: []string{node.RoleGateway}, Tenants: []ledger.Tenant{"acme"}, Routes: table, Upstream: core.upstream(t, "acme")})
	acme := conn.AsTenant(t.Context(), "acme")
	until(t, "a secret that is set", func() bool {
		_, err := core.ledger.Commit(acme, &stelev1.CommitRequest{RequestId: "1", Changes: []*stelev1.Change{
			{Key: "secret/a", Value: `"` + canary + `"`}, {Key: "public/a", Value: `"visible-` + canary[7:] + `"`},
		}})
		return err == nil
	})
	var got *stelev1.GetResponse
	until(t, "the secret at the edge", func() bool {
		got, err = edge.config.Get(acme, &stelev1.GetRequest{Key: "secret/a"})
		return err == nil
	})
	if got.Entry.Value != `"***"` {
		t.Errorf("the edge shows %s", got.Entry.Value)
	}
	if _, err := edge.config.Get(acme, &stelev1.GetRequest{Key: "secret/a", Reveal: true}); err == nil {
		t.Error("the edge reveals a secret")
	}
	edge.stop() // so that all of it is in its files
	files, visible := 0, false
	err = filepath.WalkDir(edge.cfg.Data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		files++
		visible = visible || bytes.Contains(b, []byte("visible-"+canary[7:]))
		if bytes.Contains(b, []byte(canary)) {
			t.Errorf("%s contains the secret", path)
		}
		return err
	})
	if err != nil || files == 0 || !visible {
		t.Errorf("%d files were searched, and the plain value found: %v: %v", files, visible, err)
	}
}

// The processes of a ledger know each other, and the edges below them, also through other edges.
func TestListGateways_ProcessesAndEdges(t *testing.T) {
	run := processes(t, startNATS(t))
	core := run(node.Config{Roles: []string{node.RoleLedger, node.RoleGateway}})
	other := run(node.Config{Roles: []string{node.RoleGateway}})
	until(t, "a commit", func() bool {
		_, err := core.ledger.Commit(conn.AsTenant(t.Context(), "acme"), &stelev1.CommitRequest{RequestId: "1", Changes: []*stelev1.Change{{Key: "a/b", Value: "1"}}})
		return err == nil
	})
	edge := run(node.Config{Roles: []string{node.RoleGateway}, Tenants: []ledger.Tenant{"acme"}, Upstream: core.upstream(t, "acme")})
	until(t, "the commit at the edge", edge.has(t, "acme", "a/b", "1"))
	below := run(node.Config{Roles: []string{node.RoleGateway}, Tenants: []ledger.Tenant{"acme"}, Upstream: edge.upstream(t, "acme")})
	until(t, "the commit below it", below.has(t, "acme", "a/b", "1"))
	want := map[string]string{core.grpc: "", other.grpc: "", edge.grpc: core.grpc, below.grpc: edge.grpc + " " + core.grpc}
	for name, asked := range map[string]*process{"the core": core, "another process": other, "an edge": edge} {
		until(t, "all gateways at "+name, func() bool {
			resp, err := asked.ledger.ListGateways(t.Context(), &stelev1.ListGatewaysRequest{})
			got := make(map[string]string)
			for _, g := range resp.GetGateways() {
				got[g.Address] = strings.Join(g.Path, " ")
			}
			return err == nil && maps.Equal(got, want)
		})
	}
}
