// Package porttest finds addresses for tests that must know an address before a program listens
// on it, or that start a program again at the same address.
package porttest

import "testing"

// Free returns n different unused addresses of this machine. On Linux no other program gets one of
// them before the test ends, also while nothing listens there: a port that is only found and
// released may be given to another test of this machine at once.
func Free(t testing.TB, n int) (addresses []string) {
	t.Helper()
	for range n {
		address, release, err := reserve()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(release)
		addresses = append(addresses, address)
	}
	return addresses
}
