package webhook

import (
	"fmt"
	"net/netip"
	"syscall"
)

// reserved are networks that are not the public internet's, next to those that netip
// has methods for.
var reserved = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), // carriers' NAT (RFC 6598), which clouds use inside
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("2001:db8::/32"),
}

// embeds are networks whose addresses have one of IPv4 inside, from a byte on: a
// gateway may lead to it.
var embeds = map[netip.Prefix]int{
	netip.MustParsePrefix("64:ff9b::/96"): 12, // NAT64
	netip.MustParsePrefix("2002::/16"):    2,  // 6to4
}

func isPrivate(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for network, at := range embeds {
		if network.Contains(addr) {
			b := addr.As16()
			return isPrivate(netip.AddrFrom4([4]byte(b[at : at+4])))
		}
	}
	for _, network := range reserved {
		if network.Contains(addr) {
			return true
		}
	}
	return !addr.IsGlobalUnicast() || addr.IsPrivate()
}

// refusePrivate is a net.Dialer's Control. It sees the address that is dialed, after a
// name was looked up, so that a name cannot lead to one that it did not lead to before.
func refusePrivate(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("dial %s: %w", address, err)
	}
	if isPrivate(to.Addr()) {
		return fmt.Errorf("%s is a private address: start the process with --sink-private-addresses to allow such", to.Addr())
	}
	return nil
}
