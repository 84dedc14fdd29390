package peer

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
)

// Serve is the other end of Command: it runs a peer whose server is a Go
// package in this process until SIGTERM. args are those after "peer".
func Serve(args []string) error {
	if len(args) == 0 {
		return errors.New("peer: name one: etcd, nats, echo")
	}
	flags := flag.NewFlagSet("peer "+args[0], flag.ContinueOnError)
	dir := flags.String("dir", "", "directory of the peer's files")
	addr := flags.String("listen", "127.0.0.1:0", "address to listen on")
	sync := flags.String("sync", "always", "NATS: fsync \"always\", or by \"interval\" as is its default")
	name := flags.String("name", "", "etcd, NATS: name of the server")
	monitor := flags.String("monitor", "127.0.0.1:0", "NATS: address of the monitoring endpoint")
	peers := flags.String("peers", "127.0.0.1:0", "etcd, NATS: address for the other servers of the cluster")
	cluster := flags.String("cluster", "", "etcd, NATS: peer URLs of all servers of the cluster")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	switch args[0] {
	case "etcd":
		return serveEtcd(ctx, etcdConfig{dir: *dir, addr: *addr, name: *name, peers: *peers, cluster: *cluster})
	case "nats":
		return serveNATS(ctx, natsConfig{
			dir: *dir, addr: *addr, name: *name, monitor: *monitor, syncAlways: *sync == "always", peers: *peers, cluster: *cluster,
		})
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

// clusterName is a peer's name followed by the number of its servers, if it has
// several.
func clusterName(name string, servers int) string {
	if servers > 1 {
		return fmt.Sprintf("%s%d", name, servers)
	}
	return name
}

// member is the name and the directory of the i-th server of a peer with several.
func member(peer, dir string, i, servers int) (name, memberDir string) {
	if servers > 1 {
		name = fmt.Sprintf("%s-%d", peer, i+1)
		return name, filepath.Join(dir, name)
	}
	return peer, dir
}
