package server

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stelehq/stele/internal/gateway/conn"
)

func TestConnectionOptions(t *testing.T) {
	ranges := func(texts ...string) (all []netip.Prefix) {
		for _, text := range texts {
			all = append(all, netip.MustParsePrefix(text))
		}
		return all
	}
	for name, test := range map[string]struct {
		flags connectionOptions
		want  conn.Config
		err   string
	}{
		"defaults":          {connectionOptions{pacing: "address"}, conn.Config{}, ""},
		"off":               {connectionOptions{pacing: "off"}, conn.Config{Unpaced: true}, ""},
		"unknown pacing":    {connectionOptions{pacing: "none"}, conn.Config{}, "--connection-pacing"},
		"ranges":            {connectionOptions{exempt: []string{"10.0.0.0/8", "2001:db8::/32"}, proxyProtocol: []string{"192.0.2.1/32"}}, conn.Config{Exempt: ranges("10.0.0.0/8", "2001:db8::/32"), ProxyProtocol: ranges("192.0.2.1/32")}, ""},
		"an address":        {connectionOptions{exempt: []string{"10.0.0.1"}}, conn.Config{}, "--connection-pacing-exempt \"10.0.0.1\""},
		"bits after prefix": {connectionOptions{proxyProtocol: []string{"10.0.0.1/8"}}, conn.Config{}, "the range is 10.0.0.0/8"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := test.flags.config()
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want %s", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}
