package conn

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/certs"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// Gateways calls one gateway of a list. It leaves a gateway that cannot be reached, one
// that answers UNAVAILABLE, and one that does not answer a read: later calls and streams go
// to the next one. The call is repeated there, unless it may have been carried out. A proof
// that a gateway without a tree cannot give is requested from the others.
type Gateways struct {
	// conns has a connection for each address, which prefers it and then those after it.
	conns []*grpc.ClientConn
	// chosen counts how often a gateway was left: the connection in use is that number,
	// modulo all.
	chosen atomic.Uint32
	// NotChecked, if set before the first call, is called for each answer that counts secrets
	// which were not checked against their schemas, with the tenant that the call acts for,
	// empty for the token's.
	NotChecked func(t ledger.Tenant, secrets uint64)
}

// Open returns the gateways of a list, host:port separated by commas, as Dial does for
// one. Nothing is connected until the first call.
func Open(addresses string, files certs.Files, token func() (string, error)) (*Gateways, error) {
	list := strings.Split(addresses, ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	creds, err := credentialsFor(list, files)
	if err != nil {
		return nil, err
	}
	g := &Gateways{}
	for i := range list {
		c, err := dial(slices.Concat(list[i:], list[:i]), creds, token)
		if err != nil {
			return nil, errors.Join(err, g.Close())
		}
		g.conns = append(g.conns, c)
	}
	return g, nil
}

// Count is how many gateways the list has.
func (g *Gateways) Count() int { return len(g.conns) }

// Close ends all calls.
func (g *Gateways) Close() error {
	var errs []error
	for _, c := range g.conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

func (g *Gateways) current() (*grpc.ClientConn, uint32) {
	n := g.chosen.Load()
	return g.conns[int(n)%len(g.conns)], n
}

// leave moves on from the gateway that was chosen, unless another call already has.
func (g *Gateways) leave(chosen uint32) { g.chosen.CompareAndSwap(chosen, chosen+1) }

// Invoke implements grpc.ClientConnInterface.
func (g *Gateways) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return bounded(ctx, method, reply, func(ctx context.Context) error {
		others := 0 // gateways that cannot answer this call, and are not left
		for tries := 1; ; tries++ {
			_, chosen := g.current()
			conn := g.conns[(int(chosen)+others)%len(g.conns)]
			last := tries >= len(g.conns)
			attempt, cancel := ctx, func() {}
			limited := !last && reads(method)
			if limited {
				attempt, cancel = context.WithTimeout(ctx, readTimeout(ctx))
			}
			var from peer.Peer
			err := conn.Invoke(attempt, method, args, reply, append(slices.Clip(opts), grpc.Peer(&from))...)
			silent := limited && expired(err) && ctx.Err() == nil
			cancel()
			if !last && reason(err) == "NO_TREE" { // only signers keep the tree
				others++
				continue
			}
			if !silent && !unavailable(err, from) {
				if err == nil {
					g.reportNotChecked(ctx, reply)
				}
				return err
			}
			if others == 0 {
				g.leave(chosen)
			} else {
				others++ // the gateway in use has answered
			}
			if last || !silent && !repeatable(method, err) || ctx.Err() != nil {
				return err
			}
		}
	})
}

// expired reports whether a call ended because its time was over. The gateway is sent the
// deadline and resets the stream by its own clock, which can be before this process sees
// the deadline pass: gRPC reports CANCELED then.
func expired(err error) bool {
	code := status.Code(err)
	return code == codes.DeadlineExceeded || code == codes.Canceled
}

// readTimeout is how long a gateway may take to answer a read before the next one is asked: a
// gateway can answer pings and no call. The next one has as much time, at least.
func readTimeout(ctx context.Context) time.Duration {
	const most = 10 * time.Second
	if end, ok := ctx.Deadline(); ok {
		return min(most, time.Until(end)/2)
	}
	return most
}

// NewStream implements grpc.ClientConnInterface. A stream that ends with UNAVAILABLE is
// not repeated: its caller knows where to resume.
func (g *Gateways) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	conn, chosen := g.current()
	s, err := conn.NewStream(ctx, desc, method, opts...)
	if err != nil {
		return nil, err
	}
	return &stream{s, g, chosen}, nil
}

// stream leaves its gateway when it, or a watch on it, ends with UNAVAILABLE, or when its
// caller cancels it with that cause.
type stream struct {
	grpc.ClientStream
	gateways *Gateways
	chosen   uint32
}

func (s *stream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	from, ok := peer.FromContext(s.Context())
	watch, _ := m.(*stelev1.WatchResponse)
	if ok && unavailable(err, *from) || err == nil && codes.Code(watch.GetCanceled().GetStatus().GetCode()) == codes.Unavailable ||
		status.Code(context.Cause(s.Context())) == codes.Unavailable {
		s.gateways.leave(s.chosen)
	}
	if err == nil {
		s.gateways.reportNotChecked(s.Context(), m)
	}
	return err
}

// reportNotChecked calls NotChecked if an answer counts secrets.
func (g *Gateways) reportNotChecked(ctx context.Context, answer any) {
	if of, ok := answer.(*stelev1.CommitStreamResponse); ok {
		answer = of.GetCommit()
	}
	of, ok := answer.(interface{ GetNotChecked() uint64 })
	if ok && of.GetNotChecked() > 0 && g.NotChecked != nil {
		g.NotChecked(tenantOf(ctx), of.GetNotChecked())
	}
}

// unavailable reports whether a gateway that was reached has answered UNAVAILABLE, or the
// connection to it was lost. Without a peer, no gateway of the list can be reached.
func unavailable(err error, from peer.Peer) bool {
	return status.Code(err) == codes.Unavailable && from.Addr != nil
}

// commits are the calls that the journal answers. Their answer reports whether anything was
// written.
var commits = map[string]bool{
	stelev1.Ledger_Commit_FullMethodName:   true,
	stelev1.Ledger_Rollback_FullMethodName: true,
	stelev1.Ledger_Revert_FullMethodName:   true,
	stelev1.Ledger_Copy_FullMethodName:     true,
}

// verbs begin the names of methods that have no effect. Any other method is not repeated.
var verbs = []string{
	"BatchGet", "Blame", "CheckAccess", "CheckLive", "CheckSchema", "CheckValue", "Count", "Diff", "Explain", "Get", "List", "Plan", "Preview", "Prove", "Search",
}

// repeatable reports whether another gateway may carry out a call that got UNAVAILABLE.
func repeatable(method string, err error) bool {
	if commits[method] {
		return nothingWritten(err)
	}
	return reads(method)
}

// reads reports whether a method has no effect.
func reads(method string) bool {
	name := path.Base(method)
	return slices.ContainsFunc(verbs, func(verb string) bool { return strings.HasPrefix(name, verb) })
}

// nothingWritten reports whether a gateway says that the change set was not written. If it
// does not say so, the caller repeats the call with the same request id.
func nothingWritten(err error) bool {
	return reason(err) == "UNAVAILABLE"
}

// reason is the one in the details of an error; empty without one.
func reason(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.Reason
		}
	}
	return ""
}
