package gateway_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestReasons_AreDocumented holds that callers can look up what an error
// wants of them.
func TestReasons_AreDocumented(t *testing.T) {
	var source []byte
	for _, file := range []string{"apierror/apierror.go", "reason/reason.go"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source = append(source, b...)
	}
	page, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	reasons := regexp.MustCompile(`(?:info\(|\t\w+ += )"([A-Z_]+)"`).FindAllStringSubmatch(string(source), -1)
	if len(reasons) < 30 {
		t.Fatalf("%d reasons were found", len(reasons))
	}
	for _, r := range reasons {
		if !strings.Contains(string(page), "`"+r[1]+"`") {
			t.Errorf("docs/api.md does not say what %s is: see scripts/apidoc/after.md", r[1])
		}
	}
}
