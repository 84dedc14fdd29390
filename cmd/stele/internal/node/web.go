package node

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/stelehq/stele/internal/budget"
	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/body"
	"github.com/stelehq/stele/internal/gateway/conn"
	"github.com/stelehq/stele/internal/gateway/console"
	"github.com/stelehq/stele/internal/gateway/console/login"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/gateway/rest"
	"google.golang.org/grpc"
)

// Console says how users of the console log in.
type Console struct {
	// Secure: they come by TLS, although something in front of this process speaks it.
	Secure bool
	// Provider, Link and Mint are those of console.Config.
	Provider *login.Provider
	Link     *login.Link
	Mint     func(identity.Claims) (string, error)
}

// web is the HTTP server for users and programs, in front of the gateway: it calls the
// gateway with their tokens.
type web struct {
	listener net.Listener
	conn     *grpc.ClientConn
	server   *http.Server
	end      context.CancelFunc // of what is answered for as long as its caller listens
}

func (n *Node) openWeb(share *budget.Divided) (err error) {
	if n.web.listener, err = net.Listen("tcp", n.cfg.Web); err != nil {
		return fmt.Errorf("listen for the web: %w: choose another --web", err)
	}
	front := n.gateway.Front()
	n.web.listener = front.Limit(n.web.listener, n.cfg.HTTPTLS)
	if n.web.conn, err = front.Connect(); err != nil {
		return err
	}
	bodies := body.Memory{Share: share, Verify: front.Verify}
	api, err := rest.New(rest.Config{Conn: n.web.conn, Bodies: bodies})
	if err != nil {
		return err
	}
	logins := n.cfg.Console
	secure := logins.Secure || n.cfg.HTTPTLS != nil
	pages, err := console.New(console.Config{
		Conn: n.web.conn, Secure: secure, Provider: logins.Provider, Link: logins.Link, Mint: logins.Mint, Bodies: bodies, Log: n.cfg.Log,
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/v1/", api)
	mux.Handle("/", untimed(pages))
	handler := owned(front, login.Cookies{Secure: secure}, rest.Exact(mux))
	ctx, end := context.WithCancel(context.Background())
	n.web.end = end
	n.web.server = &http.Server{
		Handler:     checkHost(n.web.listener, n.cfg.AllowedHosts, handler),
		BaseContext: func(net.Listener) context.Context { return ctx }, ConnContext: conn.HTTPContext,
		ErrorLog:          slog.NewLogLogger(n.cfg.Log.Handler(), slog.LevelDebug), // of clients that do not use TLS, and the like
		ReadHeaderTimeout: readHeaderTimeout, WriteTimeout: webWriteTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxWebHeader,
	}
	return nil
}

// owned gives a connection to the caller of its first request with a valid token, as the gateway
// does with the connections of gRPC.
func owned(front gateway.Front, cookies login.Cookies, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := identity.Bearer(r.Header.Values("Authorization"))
		if err != nil {
			token = cookies.Token(r)
		}
		if token != "" {
			if p, err := front.Verify(token); err == nil {
				if err := conn.FromHTTP(r.Context()).Authenticated(p.Owner()); err != nil {
					w.Header().Set("Connection", "close")
					http.Error(w, err.Error(), http.StatusTooManyRequests)
					return
				}
			}
		}
		next.ServeHTTP(w, r)
	})
}

// untimed takes the time of answers away: the console has a stream, which bounds itself.
func untimed(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).SetWriteDeadline(time.Time{})
		h.ServeHTTP(w, r)
	})
}

// webWriteTimeout is how long an answer may take, unless it sets its own time, and
// webCloseTimeout how long running answers may continue after Close.
const webWriteTimeout, webCloseTimeout = time.Minute, 2 * time.Second

func (w *web) close() {
	if w.server != nil {
		w.end() // streams, which would not end by themselves
		ctx, cancel := context.WithTimeout(context.Background(), webCloseTimeout)
		defer cancel()
		if w.server.Shutdown(ctx) != nil {
			w.server.Close()
		}
	}
	if w.conn != nil {
		w.conn.Close()
	}
	if w.listener != nil {
		w.listener.Close()
	}
}
