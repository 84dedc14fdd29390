package refresh_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelehq/stele/client/refresh"
)

const detail = `{"tenant":"acme","tag":"tenantconfig","key":"tenantconfig/a","operation":"delete","revision":7,"commit_id":"ab01"}`

func post(h http.Handler, signature, body string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	if signature != "" {
		req.Header.Set(refresh.SignatureHeader, signature)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w
}

func handler(t *testing.T, reload func(context.Context, refresh.Request) error) http.Handler {
	t.Helper()
	h, err := refresh.Handler([]string{secret, another}, reload)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func sign(body string) string { return refresh.Sign(secret, time.Now(), []byte(body)) }

func TestHandler_PassesTheChange(t *testing.T) {
	var got []refresh.Request
	h := handler(t, func(_ context.Context, r refresh.Request) error {
		got = append(got, r)
		return nil
	})
	if w := post(h, refresh.Sign(another, time.Now(), []byte(detail)), detail); w.Code != http.StatusNoContent {
		t.Fatalf("the answer is %d %s", w.Code, w.Body)
	}
	want := []refresh.Request{{Tenant: "acme", Changes: []refresh.KeyChange{{Key: "tenantconfig/a", Revision: 7, Deleted: true, CommitID: "ab01"}}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the service heard %+v", got)
	}
}

func TestHandler_Rejects(t *testing.T) {
	h := handler(t, func(context.Context, refresh.Request) error {
		t.Error("the service was called")
		return nil
	})
	now := time.Now()
	for name, tc := range map[string]struct {
		signature, body string
		want            int
	}{
		"no signature":      {"", detail, http.StatusUnauthorized},
		"not a signature":   {"t=1", detail, http.StatusUnauthorized},
		"no HMAC":           {"t=1,v1=", detail, http.StatusUnauthorized},
		"another secret":    {refresh.Sign("0123456789abcdef", now, []byte(detail)), detail, http.StatusUnauthorized},
		"another body":      {sign(detail), strings.Replace(detail, "acme", "evil", 1), http.StatusUnauthorized},
		"another time":      {strings.Replace(sign(detail), "t=", "t=0", 1), detail, http.StatusUnauthorized},
		"an old one":        {refresh.Sign(secret, now.Add(-6*time.Minute), []byte(detail)), detail, http.StatusUnauthorized},
		"one of the future": {refresh.Sign(secret, now.Add(6*time.Minute), []byte(detail)), detail, http.StatusUnauthorized},
		"not JSON":          {sign("x"), "x", http.StatusBadRequest},
		"another event":     {sign("{}"), "{}", http.StatusBadRequest},
		"too much":          {"", strings.Repeat(" ", 1<<20+1), http.StatusRequestEntityTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			if w := post(h, tc.signature, tc.body); w.Code != tc.want {
				t.Errorf("the answer is %d %s, not %d", w.Code, w.Body, tc.want)
			}
		})
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("a GET is answered with %d", w.Code)
	}
}

// A replayed request has no effect, for as long as its signature is valid; a caller
// whose request has failed can repeat it.
func TestHandler_IgnoresReplays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, fails := 0, true
		h := handler(t, func(_ context.Context, r refresh.Request) error {
			if r.Tenant != "acme" {
				return nil
			}
			calls++
			if fails {
				return errors.New("not now")
			}
			return nil
		})
		other := strings.Replace(detail, "acme", "globex", 1)
		// From the sender whose clock is the fastest that is tolerated.
		signature := refresh.Sign(secret, time.Now().Add(5*time.Minute), []byte(detail))
		if w := post(h, signature, detail); w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), "not now") {
			t.Fatalf("the answer is %d %s", w.Code, w.Body)
		}
		fails = false
		for range 10 { // the last one when the signature is about to expire
			if w := post(h, signature, detail); w.Code != http.StatusNoContent {
				t.Fatalf("the answer is %d %s", w.Code, w.Body)
			}
			if calls != 2 {
				t.Fatalf("the service was called %d times, not twice", calls)
			}
			time.Sleep(10 * time.Minute / 9)
			// Others come in meanwhile, and older ones are forgotten.
			post(h, sign(other), other)
		}
		if w := post(h, signature, detail); w.Code != http.StatusUnauthorized {
			t.Errorf("an expired signature is answered with %d", w.Code)
		}
	})
}
