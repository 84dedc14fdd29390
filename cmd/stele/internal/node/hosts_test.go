package node

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

type listenerAt struct {
	net.Listener
	addr net.Addr
}

func (l listenerAt) Addr() net.Addr { return l.addr }

func TestCheckHost(t *testing.T) {
	local := listenerAt{addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7071}}
	open := listenerAt{addr: &net.TCPAddr{IP: net.IPv4zero, Port: 7071}}
	for _, tc := range []struct {
		listener net.Listener
		allowed  []string
		host     string
		ok       bool
	}{
		{local, nil, "127.0.0.1:7071", true},
		{local, nil, "localhost:7071", true},
		{local, nil, "LOCALHOST.", true},
		{local, nil, "[::1]:7071", true},
		{local, nil, "rebound.example:7071", false},
		{local, nil, "localhost.rebound.example", false},
		{local, nil, "192.0.2.1:7071", false},
		{local, nil, "", false},
		{local, []string{"config.example.com"}, "config.example.com", true},
		{local, []string{"config.example.com"}, "rebound.example", false},
		{open, nil, "metrics.internal:7071", true},
		{open, []string{"metrics.internal"}, "metrics.internal:7071", true},
		{open, []string{"metrics.internal"}, "192.0.2.1:7071", true},
		{open, []string{"metrics.internal"}, "rebound.example:7071", false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Host = tc.host
		w := httptest.NewRecorder()
		checkHost(tc.listener, tc.allowed, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
		if ok := w.Code == http.StatusOK; ok != tc.ok {
			t.Errorf("host %q at %s, allowed %v: %d", tc.host, tc.listener.Addr(), tc.allowed, w.Code)
		}
	}
}
