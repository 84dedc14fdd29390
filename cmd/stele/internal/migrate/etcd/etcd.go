// Package etcd reads an etcd's keys with their history: each revision that changed any
// is a step, from the oldest one that is not compacted. The state that is left of
// compacted revisions is one first step.
//
// etcd keeps neither times nor authors, and its leases have no counterpart: a key that
// expires is deleted.
package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"os"
	"strings"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/migrate"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// dialTimeout bounds the first answer of a cluster.
const dialTimeout = 10 * time.Second

// Source is the keys of a cluster that begin with a prefix, up to the revision
// that it had when it was opened.
type Source struct {
	client *clientv3.Client
	root   string
	id     uint64
	// base is the revision of what was compacted; 0 when nothing was.
	base, end int64
}

// Open connects to a cluster's endpoints, HOST:PORT or URLs with commas between.
// Certificates and user come from the environment, as for etcdctl: ETCDCTL_CACERT,
// ETCDCTL_CERT, ETCDCTL_KEY, ETCDCTL_USER, ETCDCTL_PASSWORD.
func Open(ctx context.Context, endpoints, root string) (*Source, error) {
	cfg := clientv3.Config{Endpoints: strings.Split(endpoints, ","), DialTimeout: dialTimeout, Context: ctx, Logger: zap.NewNop()}
	var err error
	if cfg.TLS, err = settings(); err != nil {
		return nil, fmt.Errorf("connect to etcd: %w", err)
	}
	name, password, both := strings.Cut(os.Getenv("ETCDCTL_USER"), ":")
	if cfg.Username, cfg.Password = name, password; !both {
		cfg.Password = os.Getenv("ETCDCTL_PASSWORD")
	}
	client, err := clientv3.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to etcd at %s: %w", endpoints, err)
	}
	s := &Source{client: client, root: root}
	if err := s.bounds(ctx); err != nil {
		client.Close()
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("no answer in %s: %w", dialTimeout, err)
		}
		return nil, fmt.Errorf("ask etcd at %s: %w", endpoints, err)
	}
	return s, nil
}

func settings() (*tls.Config, error) {
	files := transport.TLSInfo{
		TrustedCAFile: os.Getenv("ETCDCTL_CACERT"), CertFile: os.Getenv("ETCDCTL_CERT"), KeyFile: os.Getenv("ETCDCTL_KEY"),
	}
	if files.Empty() && files.TrustedCAFile == "" {
		return nil, nil
	}
	return files.ClientConfig()
}

// Close ends the connection.
func (s *Source) Close() error { return s.client.Close() }

// Name has the cluster's id.
func (s *Source) Name() string { return fmt.Sprintf("etcd %x", s.id) }

// Compacted is the revision before which etcd has only the state, without history; 0
// when nothing was compacted.
func (s *Source) Compacted() int64 { return s.base }

// bounds asks for the revisions between which the history is.
func (s *Source) bounds(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	now, err := s.client.Get(ctx, s.first(), s.all(clientv3.WithCountOnly())...)
	if err != nil {
		return err
	}
	s.id, s.end = now.Header.ClusterId, now.Header.Revision
	_, err = s.client.Get(ctx, s.first(), s.all(clientv3.WithCountOnly(), clientv3.WithRev(1))...)
	if !errors.Is(err, rpctypes.ErrCompacted) {
		return err
	}
	// Only a watch reports the compacted revision.
	for resp := range s.client.Watch(ctx, s.first(), s.all(clientv3.WithRev(1))...) {
		if s.base = resp.CompactRevision; s.base > 0 {
			return nil
		}
		if err := resp.Err(); err != nil {
			return err
		}
	}
	return fmt.Errorf("it does not say how far it is compacted: %w", ctx.Err())
}

// first is the first key of the range with the prefix, and all says how far it
// goes.
func (s *Source) first() string {
	if s.root == "" {
		return "\x00"
	}
	return s.root
}

func (s *Source) all(options ...clientv3.OpOption) []clientv3.OpOption {
	if s.root == "" {
		return append(options, clientv3.WithFromKey())
	}
	return append(options, clientv3.WithPrefix())
}

// Steps yields the state that was compacted and then each revision. The keys that
// it leaves are compared with the cluster's own: no history is taken for whole that
// is not.
func (s *Source) Steps(ctx context.Context) iter.Seq2[migrate.Step, error] {
	return func(yield func(migrate.Step, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		r := &replay{Source: s, yield: yield, keys: make(map[string]int64)}
		err := r.state(ctx)
		if err == nil {
			err = r.revisions(ctx)
		}
		if err == nil {
			err = r.compare(ctx)
		}
		if err != nil && !errors.Is(err, errStopped) {
			yield(migrate.Step{}, fmt.Errorf("read etcd: %w", err))
		}
	}
}
