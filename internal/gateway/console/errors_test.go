package console

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stelehq/stele/internal/gateway/console/login"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A login page that cannot be shown is an error, and not an empty page.
func TestFail_LoginPageFails(t *testing.T) {
	site, err := page.NewSite(nil, login.Cookies{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/acme/", nil)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	r.Header.Set("Sec-Fetch-Dest", "document")
	w := httptest.NewRecorder()
	fail(site.NewView(w, r), status.Error(codes.Unauthenticated, "the token has expired"))
	if w.Code != http.StatusUnauthorized {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
