package rest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/stelehq/stele/internal/gateway/apierror"
	"github.com/stelehq/stele/internal/gateway/body"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/schemas/openapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// request is what of an HTTP request goes beyond its path, query and body.
type request struct {
	who  metadata.MD // the caller's token and tenant
	have []string    // If-None-Match
}

type requestKey struct{}

func requestOf(ctx context.Context) *request {
	r, _ := ctx.Value(requestKey{}).(*request)
	return r
}

// named makes calls in the name of the request that they are for. What else is in the
// context for the gateway is dropped.
type named struct{ grpc.ClientConnInterface }

func (n named) Invoke(ctx context.Context, method string, in, out any, opts ...grpc.CallOption) error {
	return n.ClientConnInterface.Invoke(metadata.NewOutgoingContext(ctx, requestOf(ctx).who), method, in, out, opts...)
}

func (n named) NewStream(ctx context.Context, d *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return n.ClientConnInterface.NewStream(metadata.NewOutgoingContext(ctx, requestOf(ctx).who), d, method, opts...)
}

// credentials are the headers that reach the gateway: all values, because it refuses
// more than one.
func credentials(h http.Header) (metadata.MD, error) {
	md := metadata.MD{}
	for _, name := range []string{"Authorization", "As-Tenant"} {
		for _, v := range h.Values(name) {
			if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' }) {
				return nil, invalid(strings.ToLower(name), "the header has characters that are not printable ASCII")
			}
			md.Append(strings.ToLower(name), v)
		}
	}
	return md, nil
}

// ServeHTTP answers one request.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	guard(w.Header())
	w.Header().Set("X-Request-Id", requestID(r))
	// Also of a body that is not read here: the server discards it.
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(body.Timeout))
	allowed := a.paths.methods(r.URL.Path)
	switch {
	case allowed == "":
		fail(w, errNoPath)
		return
	case r.Method == http.MethodOptions:
		w.Header().Set("Allow", allowed)
		w.WriteHeader(http.StatusNoContent)
		return
	case !allows(allowed, r.Method):
		w.Header().Set("Allow", allowed)
		failAs(w, http.StatusMethodNotAllowed, noMethod(r.Method, allowed))
		return
	case r.URL.Path == documentPath:
		w.Header().Set("Content-Type", contentType)
		w.Write(openapi.Document)
		return
	}
	if !utf8.ValidString(r.URL.Path) {
		fail(w, invalid("path", "it is not UTF-8"))
		return
	}
	who, err := credentials(r.Header)
	if err != nil {
		fail(w, err)
		return
	}
	values, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		fail(w, invalid("query", err.Error()))
		return
	}
	ctx := context.WithValue(r.Context(), requestKey{}, &request{who: who, have: r.Header.Values("If-None-Match")})
	if r.ContentLength != 0 && (r.URL.Path == watchPath || r.URL.Path == watchAllPath) {
		// The first event would wait for it without a deadline, and the watch keep its slot.
		fail(w, invalid("body", "a watch has no body"))
		return
	}
	switch r.URL.Path {
	case watchPath:
		a.watch(w, r.WithContext(ctx), values)
		return
	case watchAllPath:
		a.watchAll(w, r.WithContext(ctx), values)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	release, err := a.bodies.Reserve(ctx, r, maxBody, 1, func() (string, error) { return identity.Bearer(r.Header.Values("Authorization")) })
	if err != nil {
		fail(w, apierror.StatusOf(slog.Default(), r.URL.Path, err))
		return
	}
	defer release()
	content, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		failBody(w, err)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(content))
	switch key, one := strings.CutPrefix(r.URL.Path, keyPath); {
	case one && (r.Method == http.MethodPut || r.Method == http.MethodDelete):
		a.setKey(w, r.WithContext(ctx), key, values, content)
	case r.Method == http.MethodPost && len(values) > 0:
		fail(w, invalid("query", "what is asked for goes into the body here"))
	default:
		a.mux.ServeHTTP(w, inner(ctx, r))
	}
}

// inner is the request as the mux gets it: without any header, because it would make
// some of them the gateway's, and with a path that its patterns can read.
func inner(ctx context.Context, r *http.Request) *http.Request {
	in := r.WithContext(ctx)
	in.Header = http.Header{}
	path := r.URL.Path
	if id, ok := strings.CutPrefix(path, "/v1/commits/id/"); ok {
		if b, err := hex.DecodeString(id); err == nil {
			path = "/v1/commits/id/" + base64.RawURLEncoding.EncodeToString(b)
		} else {
			path = "/v1/commits/id/!" // which no reader of bytes takes
		}
	} else if revision, ok := strings.CutPrefix(path, "/v1/commits/@"); ok {
		path = "/v1/commits/" + revision
	}
	in.URL = &url.URL{Path: path, RawQuery: r.URL.RawQuery}
	if in.Method == http.MethodHead {
		in.Method = http.MethodGet // the server leaves the body out
	}
	return in
}

// guard sets the headers that keep a browser from making more of an answer than data.
func guard(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
}

// requestID is the caller's name for the request, where it has a fit one, or a new one.
func requestID(r *http.Request) string {
	const most = 64
	id := r.Header.Get("X-Request-Id")
	odd := func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("._-", c))
	}
	if id == "" || len(id) > most || strings.ContainsFunc(id, odd) {
		return uuid.NewString()
	}
	return id
}
