// Package etcdtest starts a real etcd for tests.
package etcdtest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/porttest"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Start runs the etcd of scripts/tools/etcd, which Go builds when it is first asked for
// it, until the test ends.
func Start(t *testing.T) (endpoint string, client *clientv3.Client) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds etcd")
	}
	build := exec.Command("go", "tool", "-modfile="+module(t), "-n", "server")
	build.Stderr = os.Stderr
	program, err := build.Output()
	if err != nil {
		t.Fatalf("build etcd: %v", err)
	}
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	addresses := porttest.Free(t, 2)
	endpoint, peer := addresses[0], "http://"+addresses[1]
	process := exec.Command(strings.TrimSpace(string(program)), "--data-dir", filepath.Join(dir, "data"), "--unsafe-no-fsync",
		"--listen-client-urls", "http://"+endpoint, "--advertise-client-urls", "http://"+endpoint,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)
	process.Stdout, process.Stderr = log, log
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		process.Process.Kill()
		process.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("etcd:\n%s", text)
		}
	})
	client, err = clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		once, end := context.WithTimeout(ctx, time.Second)
		_, err := client.Get(once, "x")
		if end(); err == nil {
			return endpoint, client
		}
		if ctx.Err() != nil {
			t.Fatalf("etcd does not answer: %v", err)
		}
	}
}

// module is the file that pins etcd, here or in a folder above.
func module(t *testing.T) string {
	t.Helper()
	at, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		file := filepath.Join(at, "scripts", "tools", "etcd", "go.mod")
		if _, err := os.Stat(file); err == nil {
			return file
		}
		if at == filepath.Dir(at) {
			t.Fatal("scripts/tools/etcd is nowhere above")
		}
		at = filepath.Dir(at)
	}
}
