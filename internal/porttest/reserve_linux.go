package porttest

import (
	"fmt"
	"net/netip"
	"os"
	"syscall"
)

// reserve binds a socket that does not listen. The kernel lets programs that ask for the port
// listen there, because listeners in Go and this socket have SO_REUSEADDR, and gives the port to
// no program that asks for any port, or connects.
func reserve() (address string, release func(), err error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			syscall.Close(fd)
		}
	}()
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return "", nil, os.NewSyscallError("setsockopt", err)
	}
	loopback := [4]byte{127, 0, 0, 1}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: loopback}); err != nil {
		return "", nil, os.NewSyscallError("bind", err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		return "", nil, os.NewSyscallError("getsockname", err)
	}
	at, ok := bound.(*syscall.SockaddrInet4)
	if !ok {
		return "", nil, fmt.Errorf("the socket is bound to %v, not to an address of IPv4", bound)
	}
	return netip.AddrPortFrom(netip.AddrFrom4(loopback), uint16(at.Port)).String(), func() { syscall.Close(fd) }, nil
}
