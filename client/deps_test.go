package client_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// A program that reads its settings does not get the server with it.
func TestDependencies_NoServerCode(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "github.com/stelehq/stele/client").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	if !slices.Contains(deps, "github.com/stelehq/stele/schemas/stele/v1") {
		t.Fatalf("go list shows %d packages, without the schemas", len(deps))
	}
	allowed := []string{"github.com/stelehq/stele/client", "github.com/stelehq/stele/schemas/", "google.golang.org/", "buf.build/gen/", "golang.org/x/",
		"github.com/google/uuid", "github.com/stelehq/stele/internal/netaddr"}
	for _, d := range deps {
		first, _, _ := strings.Cut(d, "/")
		if strings.Contains(first, ".") && !slices.ContainsFunc(allowed, func(p string) bool { return strings.HasPrefix(d, p) }) {
			t.Errorf("it links %s", d)
		}
	}
}
