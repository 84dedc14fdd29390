package peer

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// Etcd is one etcd server, or a cluster of them. It fsyncs its log before it
// answers a put. A tenant is a key prefix.
type Etcd struct {
	// Servers is the number of members; 0 is 1.
	Servers int
}

func (e Etcd) Name() string { return clusterName("etcd", e.Servers) }

func (e Etcd) Programs(dir string, free func() (string, error)) ([]Program, error) {
	var programs []Program
	var members []string
	for i := range max(e.Servers, 1) {
		name, home := member("etcd", dir, i, e.Servers)
		addr, err := free()
		if err != nil {
			return nil, err
		}
		peers, err := free()
		if err != nil {
			return nil, err
		}
		members = append(members, name+"=http://"+peers)
		cmd := self("etcd", home, addr, "--name", name, "--peers", peers)
		programs = append(programs, Program{Name: name, Cmd: cmd, Addr: addr})
	}
	for _, p := range programs {
		p.Cmd.Args = append(p.Cmd.Args, "--cluster", strings.Join(members, ","))
	}
	return programs, nil
}

// etcdConfig are the flags of an etcd server.
type etcdConfig struct {
	dir, addr string
	// name is the member's, peers its address for the others, and cluster a list of
	// NAME=URL of all.
	name, peers, cluster string
}

// serveEtcd runs etcd with its own defaults, but with room for some million writes
// of history.
func serveEtcd(ctx context.Context, c etcdConfig) error {
	client := url.URL{Scheme: "http", Host: c.addr}
	peers := url.URL{Scheme: "http", Host: c.peers}
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir = c.name, c.dir
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peers}, []url.URL{peers}
	cfg.InitialCluster = c.cluster
	cfg.QuotaBackendBytes = 16 << 30
	cfg.MaxTxnOps, cfg.MaxRequestBytes = 10_000, 8<<20 // the largest change set
	cfg.LogLevel = "error"
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	defer e.Close()
	select {
	case <-ctx.Done():
		return nil
	case err := <-e.Err():
		return fmt.Errorf("run etcd: %w", err)
	}
}

func (Etcd) Dial(ctx context.Context, _ string, addrs []string, conns int) (Client, error) {
	p, err := dialPool(addrs, conns, func(addr string) (*clientv3.Client, error) {
		c, err := clientv3.New(clientv3.Config{Endpoints: []string{addr}, Logger: zap.NewNop()})
		if err != nil {
			return nil, err
		}
		if _, err := c.Get(ctx, "ping"); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		return c, nil
	})
	if err != nil {
		return nil, err
	}
	return &etcdClient{p}, nil
}

type etcdClient struct{ *pool[*clientv3.Client] }

func etcdKey(tenant, key string) string { return tenant + "/" + key }

// Read is serializable: from the server's own state, as Stele's is.
func (c *etcdClient) Read(ctx context.Context, tenant, key string) (string, error) {
	return c.get(ctx, etcdKey(tenant, key), clientv3.WithSerializable())
}

func (c *etcdClient) ReadLinearizable(ctx context.Context, tenant, key string) (string, error) {
	return c.get(ctx, etcdKey(tenant, key))
}

func (c *etcdClient) get(ctx context.Context, key string, opts ...clientv3.OpOption) (string, error) {
	r, err := c.next().Get(ctx, key, opts...)
	if err != nil {
		return "", err
	}
	if len(r.Kvs) != 1 {
		return "", fmt.Errorf("etcd: %q is not set", key)
	}
	return string(r.Kvs[0].Value), nil
}

func (c *etcdClient) ReadBatch(ctx context.Context, tenant string, keys []string) error {
	ops := make([]clientv3.Op, len(keys))
	for i, k := range keys {
		ops[i] = clientv3.OpGet(etcdKey(tenant, k), clientv3.WithSerializable())
	}
	r, err := c.next().Txn(ctx).Then(ops...).Commit()
	if err != nil {
		return err
	}
	for i, resp := range r.Responses {
		if len(resp.GetResponseRange().GetKvs()) != 1 {
			return fmt.Errorf("etcd: %q is not set", keys[i])
		}
	}
	return nil
}

func (c *etcdClient) Write(ctx context.Context, tenant string, e Entry) error {
	_, err := c.next().Put(ctx, etcdKey(tenant, e.Key), e.Value)
	return err
}

func (c *etcdClient) WriteSet(ctx context.Context, tenant string, set []Entry) error {
	ops := make([]clientv3.Op, len(set))
	for i, e := range set {
		ops[i] = clientv3.OpPut(etcdKey(tenant, e.Key), e.Value)
	}
	_, err := c.next().Txn(ctx).Then(ops...).Commit()
	return err
}

func (c *etcdClient) SharesStreams() bool { return true }

// Watch opens one clientv3.Watcher, which is one gRPC stream, for each stream.
func (c *etcdClient) Watch(ctx context.Context, tenant, key string, watches, streams int, got func(string)) (func() error, error) {
	ctx, cancel := context.WithCancel(ctx)
	var (
		all   []clientv3.Watcher
		lost  = make(chan error, watches)
		group sync.WaitGroup
	)
	stop := func() error {
		cancel()
		var errs []error
		for _, w := range all {
			errs = append(errs, w.Close())
		}
		group.Wait()
		close(lost)
		for err := range lost {
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
	for range streams {
		all = append(all, clientv3.NewWatcher(c.next()))
	}
	for i := range watches {
		ch := all[i%streams].Watch(ctx, etcdKey(tenant, key), clientv3.WithCreatedNotify())
		if r, ok := <-ch; !ok || !r.Created {
			return nil, errors.Join(errors.New("etcd: a watch was not created"), r.Err(), stop())
		}
		group.Go(func() {
			for r := range ch {
				for _, ev := range r.Events {
					got(string(ev.Kv.Value))
				}
			}
			if ctx.Err() == nil {
				lost <- errors.New("etcd: a watch ended early")
			}
		})
	}
	return stop, nil
}

// Replay makes a transaction of each change set, one after the other.
func (c *etcdClient) Replay(ctx context.Context, tenant string, sets []ChangeSet) ([]int64, error) {
	client := c.next()
	revisions := make([]int64, len(sets))
	for i, set := range sets {
		ops := make([]clientv3.Op, len(set.Changes))
		for j, e := range set.Changes {
			ops[j] = clientv3.OpPut(etcdKey(tenant, e.Key), e.Value)
			if e.Value == "" {
				ops[j] = clientv3.OpDelete(etcdKey(tenant, e.Key))
			}
		}
		r, err := client.Txn(ctx).Then(ops...).Commit()
		if err != nil {
			return nil, fmt.Errorf("etcd: change set %d of %s: %w", i, tenant, err)
		}
		revisions[i] = r.Header.Revision
	}
	return revisions, nil
}

func (c *etcdClient) ReadAt(ctx context.Context, tenant, key string, revision int64) error {
	_, err := c.get(ctx, etcdKey(tenant, key), clientv3.WithSerializable(), clientv3.WithRev(revision))
	return err
}
