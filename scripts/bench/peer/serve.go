package peer

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// Serve is the other end of Command: it runs a peer whose server is a Go
// package in this process until SIGTERM. args are those after "peer".
func Serve(args []string) error {
	if len(args) == 0 {
		return errors.New("peer: name one: etcd, nats, echo")
	}
	flags := flag.NewFlagSet("peer "+args[0], flag.ContinueOnError)
	dir := flags.String("dir", "", "folder of the peer's files")
	addr := flags.String("listen", "127.0.0.1:0", "address to listen on")
	sync := flags.String("sync", "always", "NATS: fsync \"always\", or by \"interval\" as is its default")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	switch args[0] {
	case "etcd":
		return serveEtcd(ctx, *dir, *addr)
	case "nats":
		return serveNATS(ctx, *dir, *addr, *sync == "always")
	case "echo":
		return serveEcho(ctx, *addr)
	}
	return fmt.Errorf("peer: %q is not one of etcd, nats, echo", args[0])
}

// self is this program, called to Serve.
func self(name, dir, addr string, args ...string) *exec.Cmd {
	args = append([]string{"peer", name, "--dir", dir, "--listen", addr}, args...)
	return exec.Command(os.Args[0], args...)
}
