package systemtest

import (
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The link that "stele up" prints starts a session of 12 hours, and not one with the operator's
// token of a year.
func TestUp_SessionOfTheLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := launchUp(t, filepath.Join(dir, "data"), filepath.Join(dir, "config"))
	p.serves(t)
	link := regexp.MustCompile(`http://\S+/login\?code=\w+`).Find(p.printed(t))
	if link == nil {
		t.Fatal("no link")
	}
	client := &http.Client{Timeout: soon, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Get(string(link))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	var session strings.Builder // in parts, in their order
	for _, c := range resp.Cookies() {
		if strings.Contains(c.Name, "-session") {
			session.WriteString(c.Value)
		}
	}
	var claims jwt.RegisteredClaims
	if _, _, err := jwt.NewParser().ParseUnverified(session.String(), &claims); err != nil {
		t.Fatalf("the session: %v", err)
	}
	if lives := claims.ExpiresAt.Sub(claims.IssuedAt.Time); lives != 12*time.Hour {
		t.Errorf("the session of the link lives %s", lives)
	}
}
