package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
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

// NATS is one NATS server with one key-value bucket. A tenant is the first token
// of a key's subject.
type NATS struct {
	// NoSync leaves the fsync interval at the server's default of 2 minutes: a
	// power cut loses what it has acknowledged.
	NoSync bool
}

func (n NATS) Name() string {
	if n.NoSync {
		return "nats-nosync"
	}
	return "nats"
}

func (n NATS) Command(dir, addr string) *exec.Cmd {
	sync := "always"
	if n.NoSync {
		sync = "interval"
	}
	return self("nats", dir, addr, "--sync", sync)
}

func serveNATS(ctx context.Context, dir, addr string, syncAlways bool) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	s, err := server.NewServer(&server.Options{
		Host:       host,
		Port:       n,
		JetStream:  true,
		StoreDir:   dir,
		SyncAlways: syncAlways,
		NoSigs:     true,
		// A watch is a consumer, and 1,000 a stream is the default.
		JetStreamLimits: server.JSLimitOpts{DefaultMaxConsumers: -1},
	})
	if err != nil {
		return fmt.Errorf("start nats-server: %w", err)
	}
	s.Start()
	<-ctx.Done()
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

func (n NATS) Dial(ctx context.Context, _, addr string, conns int) (Client, error) {
	p, err := dialPool(conns, func() (*natsConn, error) { return dialNATS(ctx, addr) })
	if err != nil {
		return nil, err
	}
	return &natsClient{p, make(chan struct{}, maxBatches)}, nil
}

type natsConn struct {
	nc *nats.Conn
	js jetstream.JetStream
	kv jetstream.KeyValue
}

// dialNATS connects and makes sure that the bucket is there.
func dialNATS(ctx context.Context, addr string) (*natsConn, error) {
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
		c.kv, err = createBucket(ctx, c.js)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// createBucket makes the bucket and allows atomic batches on its stream, which
// the key-value API itself does not know.
func createBucket(ctx context.Context, js jetstream.JetStream) (jetstream.KeyValue, error) {
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket:  bucket,
		History: bucketHistory,
		Storage: jetstream.FileStorage,
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
