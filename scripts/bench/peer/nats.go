package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

const (
	bucket = "bench"
	// stream and subjectPrefix are how a key-value bucket is kept.
	stream        = "KV_" + bucket
	subjectPrefix = "$KV." + bucket + "."

	// bucketHistory is the most versions of a key that a bucket can keep.
	bucketHistory = 64
	// maxBatches keeps below the 50 atomic batches that may be open on a
	// stream; more callers than that wait for each other.
	maxBatches = 48
	// maxPending is more than all streams of writes together have in flight.
	maxPending = 4096
)

// NATS is one NATS server, or a cluster of them, with one key-value bucket, which
// every server of a cluster holds. A tenant is the first token of a key's subject.
type NATS struct {
	// NoSync leaves the fsync interval at the server's default of 2 minutes: a
	// power cut loses what it has acknowledged.
	NoSync bool
	// Servers is the number of servers; 0 is 1.
	Servers int
}

func (n NATS) Name() string {
	if n.NoSync {
		return clusterName("nats-nosync", n.Servers)
	}
	return clusterName("nats", n.Servers)
}

func (n NATS) Programs(dir string, free func() (string, error)) ([]Program, error) {
	servers, err := n.servers(dir, free)
	if err != nil {
		return nil, err
	}
	var programs []Program
	for _, s := range servers {
		programs = append(programs, s.Program)
	}
	return programs, nil
}

// natsServer is a NATS server and its address for monitoring.
type natsServer struct {
	Program
	monitor string
}

func (n NATS) servers(dir string, free func() (string, error)) ([]natsServer, error) {
	var servers []natsServer
	var routes []string
	for i := range max(n.Servers, 1) {
		name, home := member("nats", dir, i, n.Servers)
		var addrs [3]string // for clients, monitoring and the cluster
		for j := range addrs {
			var err error
			if addrs[j], err = free(); err != nil {
				return nil, err
			}
		}
		sync := "always"
		if n.NoSync {
			sync = "interval"
		}
		cmd := self("nats", home, addrs[0], "--sync", sync, "--name", name, "--monitor", addrs[1])
		if n.Servers > 1 {
			cmd.Args = append(cmd.Args, "--peers", addrs[2])
			routes = append(routes, "nats://"+addrs[2])
		}
		servers = append(servers, natsServer{Program{Name: name, Cmd: cmd, Addr: addrs[0]}, addrs[1]})
	}
	for _, s := range servers {
		if n.Servers > 1 {
			s.Cmd.Args = append(s.Cmd.Args, "--cluster", strings.Join(routes, ","))
		}
	}
	return servers, nil
}

// natsConfig are the flags of a NATS server.
type natsConfig struct {
	dir, addr, name, monitor string
	syncAlways               bool
	// peers is the server's address for the others, and cluster the URLs of all; both
	// are empty for a server that is alone.
	peers, cluster string
}

func serveNATS(ctx context.Context, c natsConfig) error {
	opts := &server.Options{
		ServerName: c.name,
		JetStream:  true,
		StoreDir:   c.dir,
		SyncAlways: c.syncAlways,
		NoSigs:     true,
		// The values that Stele asks for; see docs/serve.md.
		MaxPayload: 8 << 20,
		MaxPending: 256 << 20,
		// A watch is a consumer, and 1,000 a stream is the default.
		JetStreamLimits: server.JSLimitOpts{DefaultMaxConsumers: -1},
	}
	var err error
	if opts.Host, opts.Port, err = hostPort(c.addr); err != nil {
		return err
	}
	if opts.HTTPHost, opts.HTTPPort, err = hostPort(c.monitor); err != nil {
		return err
	}
	if c.cluster != "" {
		opts.Cluster.Name = bucket
		if opts.Cluster.Host, opts.Cluster.Port, err = hostPort(c.peers); err != nil {
			return err
		}
		opts.Routes = server.RoutesFromStr(c.cluster)
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("start nats-server: %w", err)
	}
	s.Start()
	if !s.ReadyForConnections(startTimeout) {
		s.Shutdown()
		return fmt.Errorf("start nats-server: %s: address already in use", c.addr)
	}
	<-ctx.Done()
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

func hostPort(addr string) (string, int, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.Atoi(port)
	return host, n, err
}

func (n NATS) Dial(ctx context.Context, _ string, addrs []string, conns int) (Client, error) {
	p, err := dialPool(addrs, conns, func(addr string) (*natsConn, error) { return dialNATS(ctx, addr, max(n.Servers, 1)) })
	if err != nil {
		return nil, err
	}
	return &natsClient{p, make(chan struct{}, maxBatches)}, nil
}

// jetStreamReady returns nil when the server at addr answers for JetStream, which
// in a cluster needs a leader.
func jetStreamReady(ctx context.Context, addr string) error {
	nc, err := nats.Connect("nats://" + addr)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	_, err = js.AccountInfo(ctx)
	return err
}

type natsConn struct {
	nc *nats.Conn
	js jetstream.JetStream
	kv jetstream.KeyValue
}

// dialNATS connects and creates the bucket if it does not exist.
func dialNATS(ctx context.Context, addr string, replicas int) (*natsConn, error) {
	nc, err := nats.Connect("nats://" + addr)
	if err != nil {
		return nil, err
	}
	c := &natsConn{nc: nc}
	if c.js, err = jetstream.New(nc,
		jetstream.WithPublishAsyncMaxPending(maxPending),
		jetstream.WithDefaultTimeout(time.Minute)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	c.kv, err = c.js.KeyValue(ctx, bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		c.kv, err = createBucket(ctx, c.js, replicas)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// createBucket makes the bucket and allows atomic batches on its stream, which
// the key-value API itself does not know.
func createBucket(ctx context.Context, js jetstream.JetStream, replicas int) (jetstream.KeyValue, error) {
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket:   bucket,
		History:  bucketHistory,
		Storage:  jetstream.FileStorage,
		Replicas: replicas,
	})
	if err != nil {
		return nil, err
	}
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	cfg := s.CachedInfo().Config
	cfg.AllowAtomicPublish = true
	_, err = js.UpdateStream(ctx, cfg)
	return kv, err
}

func (c *natsConn) Close() error {
	c.nc.Close()
	return nil
}

type natsClient struct {
	*pool[*natsConn]
	batches chan struct{}
}

func natsKey(tenant, key string) string { return tenant + "." + key }

// Read is a direct get, as the key-value client does it.
func (c *natsClient) Read(ctx context.Context, tenant, key string) (string, error) {
	e, err := c.next().kv.Get(ctx, natsKey(tenant, key))
	if err != nil {
		return "", err
	}
	return string(e.Value()), nil
}

func (c *natsClient) ReadBatch(ctx context.Context, tenant string, keys []string) error {
	subjects := make([]string, len(keys))
	for i, k := range keys {
		subjects[i] = subjectPrefix + natsKey(tenant, k)
	}
	msgs, err := jetstreamext.GetLastMsgsFor(ctx, c.next().js, stream, subjects)
	if err != nil {
		return err
	}
	n := 0
	for _, err := range msgs {
		if err != nil {
			return err
		}
		n++
	}
	if n != len(keys) {
		return fmt.Errorf("nats: %d of %d keys are set", n, len(keys))
	}
	return nil
}

func (c *natsClient) Write(ctx context.Context, tenant string, e Entry) error {
	_, err := c.next().kv.PutString(ctx, natsKey(tenant, e.Key), e.Value)
	return err
}

// WriteSet is an atomic batch on the bucket's stream.
func (c *natsClient) WriteSet(ctx context.Context, tenant string, set []Entry) error {
	c.batches <- struct{}{}
	defer func() { <-c.batches }()
	msgs := make([]*nats.Msg, len(set))
	for i, e := range set {
		msgs[i] = nats.NewMsg(subjectPrefix + natsKey(tenant, e.Key))
		msgs[i].Data = []byte(e.Value)
	}
	// Without flow control, which would cost every batch a round trip.
	_, err := jetstreamext.PublishMsgBatch(ctx, c.next().js, msgs, jetstreamext.BatchFlowControl{})
	return err
}

// OpenWrites publishes asynchronously, which is what the key-value client's Put
// does, less the waiting.
func (c *natsClient) OpenWrites(ctx context.Context, tenant string) (WriteStream, error) {
	return &natsWrites{ctx, c.next().js, tenant, make(chan jetstream.PubAckFuture, maxPending)}, nil
}

type natsWrites struct {
	ctx     context.Context
	js      jetstream.JetStream
	tenant  string
	pending chan jetstream.PubAckFuture
}

func (w *natsWrites) Send(e Entry) error {
	f, err := w.js.PublishAsync(subjectPrefix+natsKey(w.tenant, e.Key), []byte(e.Value))
	if err != nil {
		return err
	}
	w.pending <- f
	return nil
}

func (w *natsWrites) Recv() error {
	select {
	case f := <-w.pending:
		select {
		case <-f.Ok():
			return nil
		case err := <-f.Err():
			return err
		case <-w.ctx.Done():
			return w.ctx.Err()
		}
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
}

func (w *natsWrites) CloseSend() error { return nil }

func (c *natsClient) SharesStreams() bool { return false }

// Watch gives every watch a consumer of its own, as the key-value client does.
func (c *natsClient) Watch(ctx context.Context, tenant, key string, watches, _ int, got func(string)) (func() error, error) {
	var (
		all   []jetstream.KeyWatcher
		group sync.WaitGroup
	)
	stop := func() error {
		var errs []error
		for _, w := range all {
			errs = append(errs, w.Stop())
		}
		group.Wait()
		return errors.Join(errs...)
	}
	for range watches {
		w, err := c.next().kv.Watch(ctx, natsKey(tenant, key), jetstream.UpdatesOnly())
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		all = append(all, w)
		group.Go(func() {
			for e := range w.Updates() {
				if e != nil { // the end of the initial values
					got(string(e.Value()))
				}
			}
		})
	}
	return stop, nil
}
