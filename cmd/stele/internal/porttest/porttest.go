// Package porttest finds addresses for the tests of programs that need theirs before
// they listen.
package porttest

import (
	"net"
	"testing"
)

// Free are n different unused addresses on this machine.
func Free(t testing.TB, n int) (addresses []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // not before all are found, so that none is found twice
		addresses = append(addresses, l.Addr().String())
	}
	return addresses
}
