package systemtest

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/cmd/stele/internal/migrate/etcd/etcdtest"
	"github.com/stelehq/stele/internal/projector/fakeaws"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// typed runs the command line against the server whose configuration it is.
func typed(t *testing.T, config string, more []string, args ...string) (out string, ok bool) {
	t.Helper()
	cmd := exec.Command("stele", args...)
	cmd.Env = append(environment(config), more...)
	text, err := cmd.CombinedOutput()
	return string(text), err == nil
}

// An etcd that is still written to, and is compacted, is followed import by import.
func TestImportFrom_EtcdIsFollowed(t *testing.T) {
	endpoint, client := etcdtest.Start(t)
	config := filepath.Join(t.TempDir(), "config.yaml")
	startUp(t, filepath.Join(t.TempDir(), "data"), config)
	write := func(pairs ...string) {
		t.Helper()
		var ops []clientv3.Op
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i+1] == "" {
				ops = append(ops, clientv3.OpDelete(pairs[i]))
			} else {
				ops = append(ops, clientv3.OpPut(pairs[i], pairs[i+1]))
			}
		}
		if _, err := client.Txn(t.Context()).Then(ops...).Commit(); err != nil {
			t.Fatal(err)
		}
	}
	imported := func(more ...string) string {
		t.Helper()
		out, ok := typed(t, config, nil, append([]string{"import", "--from", "etcd", endpoint, "--prefix", "/config/{tenant}/", "--into", "tenantconfig/"}, more...)...)
		if !ok {
			t.Fatalf("the import fails:\n%s", out)
		}
		return strings.Join(regexp.MustCompile(`[a-z]+@\d+`).FindAllString(out, -1), " ")
	}
	state := func(tenant string) string {
		out, _ := typed(t, config, nil, "-t", tenant, "export")
		return out
	}

	write("/config/acme/a", "1", "/config/globex/a", "1")
	write("/config/acme/a", "2", "/config/acme/b", "text")
	if got := imported(); got != "acme@2 globex@1" {
		t.Errorf("the first wrote %q", got)
	}
	if got := imported(); got != "" {
		t.Errorf("the second wrote %q", got)
	}
	write("/config/acme/b", "")
	write("/config/initech/a", "1")
	if got := imported(); got != "acme@3 initech@1" {
		t.Errorf("the third wrote %q", got)
	}
	// Changes that are compacted before their import become one commit, and keys that
	// were deleted meanwhile are removed only by --prune.
	write("/config/acme/c", "1")
	write("/config/acme/d", "1", "/config/acme/a", "")
	now, err := client.Get(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Compact(t.Context(), now.Header.Revision); err != nil {
		t.Fatal(err)
	}
	if got := imported("--prune"); got != "acme@4" {
		t.Errorf("the fourth wrote %q", got)
	}
	if got := imported("--prune"); got != "" {
		t.Errorf("the fifth wrote %q", got)
	}
	write("/config/acme/d", "2")
	if got := imported(); got != "acme@5" {
		t.Errorf("the sixth wrote %q", got)
	}
	want := `{"key":"tenantconfig/c","revision":4,"value":1}` + "\n" + `{"key":"tenantconfig/d","revision":5,"value":2}` + "\n"
	if d := cmp.Diff(want, state("acme")); d != "" {
		t.Errorf("in the end (-want +got):\n%s", d)
	}
}

// A parameter that AWS keeps encrypted is imported where it stays a secret.
func TestImportFrom_ParameterStore(t *testing.T) {
	aws, err := fakeaws.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer aws.Close()
	for _, p := range [][3]string{{"/acme/prod/db/pool", "10", ""}, {"/acme/prod/db/pool", "20", ""}, {"/acme/prod/db/password", "hunter2", "secure"}} {
		if err := aws.Parameters.Edit(p[0], func(v *fakeaws.Version) {
			if v.Value = p[1]; p[2] != "" {
				v.Type = fakeaws.SecureString
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	config := filepath.Join(t.TempDir(), "config.yaml")
	startUp(t, filepath.Join(t.TempDir(), "data"), config)
	run := func(args ...string) (string, bool) { return typed(t, config, aws.Environ(), args...) }
	args := []string{"import", "--from", "parameterstore", "/", "--prefix", "/{tenant}/prod/", "--into", "paramconfig/"}
	if out, ok := run(args...); ok || !strings.Contains(out, `"/acme/prod/db/password"`) || !strings.Contains(out, "no route makes its key secret") || strings.Contains(out, "hunter2") {
		t.Errorf("without a secret route it is imported, or printed:\n%s", out)
	}
	if out, ok := run("routes", "set", "-f", "testdata/secretroutes.yaml"); !ok {
		t.Fatal(out)
	}
	if out, ok := run(args...); !ok || !strings.Contains(out, "acme@3") {
		t.Errorf("with one:\n%s", out)
	}
	if out, ok := run(args...); !ok || !regexp.MustCompile(`acme@3 +0 +3`).MatchString(out) {
		t.Errorf("again:\n%s", out)
	}
	if out, _ := run("-t", "acme", "get", "paramconfig/db/password"); out != "***\n" {
		t.Errorf("the secret is shown as %s", out)
	}
	if out, _ := run("-t", "acme", "get", "paramconfig/db/password", "--reveal"); out != "hunter2\n" {
		t.Errorf("the secret is %s", out)
	}
	if out, _ := run("-t", "acme", "get", "paramconfig/db/pool", "--at", "@HEAD"); out != "20\n" {
		t.Errorf("the pool is %s", out)
	}
	if out, _ := run("-t", "acme", "show", "@1"); !strings.Contains(out, "author    arn:aws:iam::") {
		t.Errorf("the first commit is:\n%s", out)
	}
	// The advice does not name a flag that this kind of source does not accept.
	if out, ok := run("-t", "acme", "set", "paramconfig/db/pool", "30", "paramconfig/own", "1"); !ok {
		t.Fatal(out)
	}
	out, ok := run(args...)
	for _, line := range []string{"keys of acme that differ from the source: 1\n", "keys of acme that the source does not have: 1\n", "try: stele set, for the keys that are to have the value of the source\n"} {
		if ok || !strings.Contains(out, line) || strings.Contains(out, "--prune") {
			t.Errorf("a value that was changed here is reported without %q, or with --prune:\n%s", line, out)
		}
	}
	if out, _ := run(append(args, "--dry-run")...); strings.Contains(out, "--prune") {
		t.Errorf("the dry run advises --prune:\n%s", out)
	}
}
