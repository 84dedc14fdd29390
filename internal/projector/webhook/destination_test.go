package webhook_test

import (
	"testing"

	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/webhook"
)

// An operator who can change the routes must not send the data to a listener of their own.
func TestOpen_HostIsAllowedByTheProcess(t *testing.T) {
	for _, tc := range []struct {
		url     string
		allowed []string
		local   bool
		want    bool // opens
	}{
		{url: "https://hooks.example.com/stele"},
		{url: "https://hooks.example.com/stele", allowed: []string{"https://other.example.com"}},
		{url: "https://hooks.example.com:8443/stele", allowed: []string{"https://hooks.example.com"}},
		{url: "https://hooks.example.com/stele?a=b", allowed: []string{"https://hooks.example.com"}, want: true},
		{url: "https://hooks.example.com/stele", local: true, want: true},
	} {
		s := settings(t, tc.url)
		s.Local, s.Destinations = tc.local, projector.Destinations{Endpoints: tc.allowed}
		sink, err := webhook.Open(t.Context(), s)
		if err == nil {
			sink.Close()
		}
		if (err == nil) != tc.want {
			t.Errorf("%s, allowed %q, local %t: %v", tc.url, tc.allowed, tc.local, err)
		}
	}
}
