package browsertest

import (
	"os"
	"testing"
)

// scripts/screenshots says where the pictures go.
func TestScreenshots(t *testing.T) {
	folder := os.Getenv("STELE_SCREENSHOTS")
	if folder == "" {
		t.Skip("run by scripts/screenshots")
	}
	needBrowser(t)
	w := newWorld(t, false)
	w.fill(t)
	w.commit(t, "acme", hostile, "tenantconfig/hostile", mustJSON(t, hostile))
	browse(t, "screenshots.mjs", struct {
		*world
		Folder string
	}{w, folder})
}
