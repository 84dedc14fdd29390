package node

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"github.com/stelehq/stele/gateway/console"
	"github.com/stelehq/stele/gateway/console/login"
	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
)

// maxWebConnections of browsers and of programs that speak HTTP are open at a time.
const maxWebConnections = 10_000

// Console says how visitors of the console are known.
type Console struct {
	// Secure: they come by TLS, although something in front of this process speaks it.
	Secure bool
	// Provider and Link are those of console.Config.
	Provider *login.Provider
	Link     *login.Link
}

// web is what people and programs reach over HTTP: a server in front of the gateway,
// whose calls it makes in their names.
type web struct {
	listener net.Listener
	conn     *grpc.ClientConn
	server   *http.Server
}

func (n *Node) openWeb() (err error) {
	if n.web.listener, err = net.Listen("tcp", n.cfg.Web); err != nil {
		return fmt.Errorf("listen for the web: %w: choose another --web", err)
	}
	n.web.listener = netutil.LimitListener(n.web.listener, maxWebConnections)
	if n.cfg.HTTPTLS != nil {
		n.web.listener = tls.NewListener(n.web.listener, n.cfg.HTTPTLS)
	}
	if n.web.conn, err = n.gateway.InProcess(); err != nil {
		return err
	}
	visitors := n.cfg.Console
	pages, err := console.New(console.Config{
		Conn: n.web.conn, Secure: visitors.Secure || n.cfg.HTTPTLS != nil, Provider: visitors.Provider, Link: visitors.Link, Log: n.cfg.Log,
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/", pages)
	n.web.server = &http.Server{
		Handler:           mux,
		ErrorLog:          slog.NewLogLogger(n.cfg.Log.Handler(), slog.LevelDebug), // of visitors who speak no TLS, and the like
		ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxWebHeader,
	}
	return nil
}

func (w *web) close() {
	if w.server != nil {
		w.server.Close()
	}
	if w.conn != nil {
		w.conn.Close()
	}
	if w.listener != nil {
		w.listener.Close()
	}
}
