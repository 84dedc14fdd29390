//go:build faults

package systemtest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/internal/gateway/identity"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var announcedHTTP = regexp.MustCompile(`(?m)^  HTTP +(http://\S+)/metrics`)

// httpText is the status code and the body of a page of the process's HTTP address.
func (g *gateway) httpText(t *testing.T, path string) (int, string) {
	t.Helper()
	found := announcedHTTP.FindSubmatch(g.printed(t))
	if found == nil {
		t.Fatal("stele does not say where it serves HTTP")
	}
	resp, err := http.Get(string(found[1]) + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func settingOf(value string) *stelev1.CommitRequest {
	return &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: "a/b", Value: value}}}
}

// TestFullDisk fills the disk of "stele up" again and again while it is written to.
func TestFullDisk(t *testing.T) {
	const rounds, size = 8, 200 << 20
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	config := filepath.Join(t.TempDir(), "config.yaml")
	t.Setenv("STELE_CONFIG", config)
	data := filepath.Join(dir, "data")
	// Operators' calls are recorded, which a full disk prevents: ada is the tenant's own.
	tokenFile := filepath.Join(t.TempDir(), "token")
	token := func() (string, error) {
		signer, err := identity.OpenSigner(filepath.Join(data, "identity"))
		if err != nil {
			return "", err
		}
		token, err := signer.Mint(identity.Claims{Subject: "ada", Tenant: acme, Roles: []identity.Role{identity.Admin}, TTL: time.Hour})
		return token, errors.Join(err, os.WriteFile(tokenFile, []byte(token), 0o600))
	}
	g := serving(t, launchUp(t, data, config), token)
	ctx := acting(t, acme)
	var refused, resumed time.Duration
	for round := range rounds {
		want := fmt.Sprint(round)
		untilUp(t, ctx, g.ledger.Commit, settingOf(want))
		filler := filepath.Join(dir, "filler")
		if err := os.WriteFile(filler, make([]byte, size), 0o600); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("the disk is not full: %v", err)
		}
		began := time.Now()
		_, err := g.ledger.Commit(ctx, settingOf(`"full"`))
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "no space left") {
			t.Fatalf("a write to a full disk: %v", err)
		}
		refused = max(refused, time.Since(began))
		if got, err := g.config.Get(ctx, &stelev1.GetRequest{Key: "a/b"}); err != nil || got.Entry.Value != want {
			t.Fatalf("read %v: %v", got, err)
		}
		if code, _ := g.httpText(t, "/readyz?writes"); code != http.StatusServiceUnavailable {
			t.Errorf("/readyz?writes answers %d", code)
		}
		if code, _ := g.httpText(t, "/readyz"); code != http.StatusOK {
			t.Errorf("/readyz answers %d", code)
		}
		if _, text := g.httpText(t, "/metrics"); !strings.Contains(text, "\nstele_read_only 1\n") {
			t.Error("stele_read_only is not 1")
		}
		for _, command := range []string{"doctor", "status"} {
			code, out := commandOutput(t, "--token-file", tokenFile, command)
			if !strings.Contains(out, "no space left") || command == "doctor" && code == failure.OK {
				t.Errorf("%s: exit code %d:\n%s", command, code, out)
			}
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		untilUp(t, ctx, g.ledger.Commit, settingOf(`"freed"`))
		resumed = max(resumed, time.Since(began))
	}
	if refused > time.Second || resumed > 5*time.Second {
		t.Errorf("writes were refused after %s, and resumed after %s", refused, resumed)
	}
	g.stop(t)
	g = serving(t, launchUp(t, data, config), token)
	walk(t, g, acme, 2*rounds)
	fmt.Printf("full disk: %d times; writes were refused within %s and resumed within %s, reads continued, %d commits are in one chain\n",
		rounds, refused.Round(time.Millisecond), resumed.Round(time.Millisecond), 2*rounds)
}
