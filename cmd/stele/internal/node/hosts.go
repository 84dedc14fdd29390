package node

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/stelehq/stele/internal/netaddr"
)

// checkHost refuses requests that were made for another host. The name of another site can
// resolve to this machine (DNS rebinding), and the browsers of its users then treat
// answers of this machine as that site's own.
//
// A listener on this machine answers to this machine's names and the allowed ones. Any
// other answers to addresses and the allowed names if there are some, and else to all:
// over TLS, a browser compares the name with the certificate.
func checkHost(l net.Listener, allowed []string, next http.Handler) http.Handler {
	ap, err := netip.ParseAddrPort(l.Addr().String())
	local := err == nil && ap.Addr().IsLoopback()
	if !local && len(allowed) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
		_, err := netip.ParseAddr(host)
		if !netaddr.IsLoopback(host) && (local || err != nil) && !slices.Contains(allowed, host) {
			http.Error(w, "this server does not answer to the host name of the request: start it with --allowed-hosts NAME", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
