package porttest

import (
	"net"
	"runtime"
	"testing"
)

// An address is listened on again and again, and given to no other program meanwhile.
func TestFree_AddressesStayReserved(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only on Linux")
	}
	const n = 2000 // of 14,000 ports that the kernel prefers
	reserved := make(map[string]bool)
	for _, address := range Free(t, n) {
		reserved[address] = true
	}
	if len(reserved) != n {
		t.Fatalf("%d of %d addresses are different", len(reserved), n)
	}
	again := 0
	for address := range reserved {
		if again++; again > 20 {
			break
		}
		for range 2 {
			l, err := net.Listen("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			if from := c.LocalAddr().String(); reserved[from] {
				t.Errorf("a client got %s", from)
			}
			c.Close()
			l.Close()
		}
	}
	for range 200 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if reserved[l.Addr().String()] {
			t.Errorf("another listener got %s", l.Addr())
		}
		l.Close()
	}
}
