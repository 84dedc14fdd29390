package refresh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/stelehq/stele/schemas/events"
)

// maxBody is the longest body, in bytes: no event is longer on a bus.
const maxBody = 1 << 20

// Handler serves refreshes as a webhook: a POST whose body is the detail of
// an event "Configuration Changed" (schemas/events/configuration-changed.json) and
// whose SignatureHeader is made with one of the secrets; there are several while
// one replaces another. It answers 204 when refresh has returned nil, and 500 with
// its error otherwise; then the caller calls again.
func Handler(secrets []string, refresh func(context.Context, Request) error) (http.Handler, error) {
	if err := checkSecrets(secrets); err != nil {
		return nil, fmt.Errorf("refresh handler: %w", err)
	}
	return &refreshHandler{secrets: secrets, refresh: refresh}, nil
}

type refreshHandler struct {
	secrets []string
	refresh refreshFunc
	served  replays
}

func (h *refreshHandler) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "send a POST", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		http.Error(w, fmt.Sprintf("the body has more than %d bytes", maxBody), http.StatusRequestEntityTooLarge)
		return
	}
	if err != nil {
		http.Error(w, "the body could not be read", http.StatusBadRequest)
		return
	}
	now := time.Now()
	signed, err := verify(h.secrets, req.Header.Get(SignatureHeader), now, body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	if h.served.has(signed, now) {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	e, err := events.ParseConfigurationChanged(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := h.refresh(req.Context(), refreshOf(e)); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h.served.add(signed, now)
	w.WriteHeader(http.StatusNoContent)
}
