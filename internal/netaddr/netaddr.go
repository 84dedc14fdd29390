// Package netaddr classifies network addresses.
package netaddr

import "net/netip"

// IsLoopback reports whether a host, a name or an IP address without a port, is this
// machine.
func IsLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}
