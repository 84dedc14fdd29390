package server

import (
	"net/netip"

	"github.com/spf13/pflag"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/internal/gateway/conn"
)

// connectionOptions are the flags for the connections of gRPC callers.
type connectionOptions struct {
	pacing                string
	exempt, proxyProtocol []string
}

func (o *connectionOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.pacing, "connection-pacing", "address", "which new connections to --listen and --web wait: \"address\" for those of an address whose earlier connections made no authenticated call, or \"off\"")
	f.StringSliceVar(&o.exempt, "connection-pacing-exempt", nil, "CIDR ranges whose connections never wait, for example 10.0.0.0/8")
	f.StringSliceVar(&o.proxyProtocol, "proxy-protocol-from", nil, "CIDR ranges of load balancers, whose connections must begin with a PROXY protocol header (version 1 or 2)")
}

// config checks the flags.
func (o *connectionOptions) config() (cfg conn.Config, err error) {
	switch o.pacing {
	case "", "address":
	case "off":
		cfg.Unpaced = true
	default:
		return cfg, failure.Usagef("--connection-pacing %q: use address or off", o.pacing)
	}
	if cfg.Exempt, err = parseRanges("connection-pacing-exempt", o.exempt); err != nil {
		return cfg, err
	}
	cfg.ProxyProtocol, err = parseRanges("proxy-protocol-from", o.proxyProtocol)
	return cfg, err
}

func parseRanges(flag string, texts []string) (ranges []netip.Prefix, err error) {
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, failure.Usagef("--%s %q: not a CIDR range such as 10.0.0.0/8 or 2001:db8::/32", flag, text)
		}
		if p != p.Masked() {
			return nil, failure.Usagef("--%s %q: the address has bits after its prefix; the range is %s", flag, text, p.Masked())
		}
		ranges = append(ranges, p)
	}
	return ranges, nil
}
