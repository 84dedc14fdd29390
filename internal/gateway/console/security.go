package console

import (
	"net/http"
	"time"

	"github.com/stelehq/stele/internal/gateway/body"
)

// policy lets a page load the console's own files, and nothing else: no inline script
// or style, whatever user input the page contains.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// maxForm is the most that a form may hold, in bytes: a value of the largest size, with
// the white space of its layout, and encoded.
const maxForm = 8 << 20

// secured adds the headers of every answer to a handler.
func secured(next http.Handler) http.Handler {
	headers := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if r.Body != http.NoBody { // also one that no page reads: the server discards it
			http.NewResponseController(w).SetReadDeadline(time.Now().Add(body.Timeout))
		}
		next.ServeHTTP(w, r)
	})
	return http.NewCrossOriginProtection().Handler(headers)
}
