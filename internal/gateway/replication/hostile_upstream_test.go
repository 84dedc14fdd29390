package replication_test

import (
	"context"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/gateway/replication"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
)

func testLog(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// liar is an upstream that does what a test says.
type liar struct {
	stelev1.UnimplementedReplicationServer
	follow  func(stream grpc.BidiStreamingServer[stelev1.FollowRequest, stelev1.FollowResponse]) error
	prove   func(*stelev1.ProveRequest) (*stelev1.ProveResponse, error)
	follows atomic.Int32
}

func (l *liar) Follow(s grpc.BidiStreamingServer[stelev1.FollowRequest, stelev1.FollowResponse]) error {
	l.follows.Add(1)
	if _, err := s.Recv(); err != nil {
		return err
	}
	return l.follow(s)
}

func (l *liar) Prove(ctx context.Context, req *stelev1.ProveRequest) (*stelev1.ProveResponse, error) {
	if l.prove == nil {
		return l.UnimplementedReplicationServer.Prove(ctx, req)
	}
	return l.prove(req)
}

func (l *liar) start(t *testing.T) string {
	t.Helper()
	lis := listen(t, "127.0.0.1:0")
	s := grpc.NewServer(grpc.MaxSendMsgSize(64 << 20))
	stelev1.RegisterReplicationServer(s, l)
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(lis) }()
	t.Cleanup(func() { s.Stop(); <-done })
	return lis.Addr().String()
}

type followStream = grpc.BidiStreamingServer[stelev1.FollowRequest, stelev1.FollowResponse]

func welcome(epoch []byte, path ...*stelev1.GatewayID) *stelev1.FollowResponse {
	return &stelev1.FollowResponse{Event: &stelev1.FollowResponse_Welcome{Welcome: &stelev1.FollowWelcome{Epoch: epoch, Path: path}}}
}

func commits(all ...*stelev1.ReplicatedCommit) *stelev1.FollowResponse {
	return &stelev1.FollowResponse{Event: &stelev1.FollowResponse_Commits{Commits: &stelev1.FollowCommits{Commits: all}}}
}

func progress(p *stelev1.FollowProgress) *stelev1.FollowResponse {
	return &stelev1.FollowResponse{Event: &stelev1.FollowResponse_Progress{Progress: p}}
}

// answer answers every poll as change says.
func answer(s followStream, change func(*stelev1.FollowProgress)) error {
	for {
		req, err := s.Recv()
		if err != nil {
			return err
		}
		p := &stelev1.FollowProgress{Id: req.GetPoll().GetId(), Age: durationpb.New(0)}
		change(p)
		if err := s.Send(progress(p)); err != nil {
			return err
		}
	}
}

// An edge that follows a hostile upstream first ends up at the honest one, with exactly
// the core's history. state is what Status shows of the hostile one.
func TestFollow_HostileUpstream(t *testing.T) {
	w := startWorld(t)
	w.fill(t, 40, "acme", "globex")
	w.write(t, ledger.System, "policy/acme/limits", `{}`)
	epoch := w.node.Journal.Epoch()
	acme, globex := w.raw("acme"), w.raw("globex")
	sequence := func(all ...*stelev1.ReplicatedCommit) func(followStream) error {
		return func(s followStream) error {
			if err := s.Send(welcome(epoch[:])); err != nil {
				return err
			}
			if err := s.Send(commits(all...)); err != nil {
				return err
			}
			return answer(s, func(*stelev1.FollowProgress) {})
		}
	}
	stopsAt := func(change func(*stelev1.FollowProgress)) func(followStream) error {
		return func(s followStream) error {
			s.Send(welcome(epoch[:]))
			s.Send(commits(acme[:3]...))
			return answer(s, change)
		}
	}
	tampered := slices.Clone(acme)
	tampered[5] = forge(t, acme[5], func(c *stelev1.Commit) { c.Changes[0].Value = `"tampered"` })
	swapped := slices.Clone(acme)
	swapped[4], swapped[5] = swapped[5], swapped[4]
	low := []*stelev1.ReplicatedCommit{acme[0], {Position: acme[0].Position - 1, Commit: acme[1].Commit}}
	alien := forge(t, acme[0], func(c *stelev1.Commit) { c.Epoch = []byte("alien-01") })
	path := make([]*stelev1.GatewayID, 1000)
	for i := range path {
		path[i] = &stelev1.GatewayID{Id: []byte("x"), Address: "a"}
	}
	for _, tc := range []struct {
		name   string
		follow func(followStream) error
		state  string // of the hostile upstream; empty if it is not caught but only slow
	}{
		{"alters a commit", sequence(tampered...), "contradicts what was seen"},
		{"reorders commits", sequence(swapped...), "contradicts what was seen"},
		{"drops a commit in the middle", sequence(slices.Delete(slices.Clone(acme), 3, 4)...), "contradicts what was seen"},
		{"sends a commit twice, differently", sequence(acme[0], tampered[5]), "contradicts what was seen"},
		{"sends a tenant that was not asked for", sequence(globex...), "was not asked for"},
		{"sends a commit of another ledger", sequence(alien), "is of the ledger"},
		{"sends a lower position", sequence(low...), "and the commit before it in message"},
		{"sends a huge position", sequence(&stelev1.ReplicatedCommit{Position: math.MaxUint64, Commit: acme[0].Commit}), "it is in message"},
		{"sends bytes that are no commit", sequence(&stelev1.ReplicatedCommit{Position: 1, Commit: []byte("\xff\x01junk")}), "decode commit"},
		{"is of another ledger", func(s followStream) error {
			s.Send(welcome([]byte("alien-01")))
			return answer(s, func(*stelev1.FollowProgress) {})
		}, "the edge's is"},
		{"sends commits without a welcome", func(s followStream) error {
			s.Send(commits(acme...))
			return answer(s, func(*stelev1.FollowProgress) {})
		}, "not a welcome"},
		{"sends two welcomes", func(s followStream) error {
			s.Send(welcome(epoch[:]))
			s.Send(welcome(epoch[:]))
			return answer(s, func(*stelev1.FollowProgress) {})
		}, "a second welcome"},
		{"claims a huge progress", stopsAt(func(p *stelev1.FollowProgress) { p.Position = math.MaxUint64 }), "it is at message"},
		{"claims a huge last position", stopsAt(func(p *stelev1.FollowProgress) { p.LastPosition = math.MaxUint64 }), "it is at message"},
		{"has a path without end", stopsAt(func(p *stelev1.FollowProgress) { p.Path = path }), "its path has 1000"},
		{"has stopped", stopsAt(func(p *stelev1.FollowProgress) { p.Stopped = strings.Repeat("x", 10_000) }), "has stopped following"},
		{"sends a message of 32 MiB", func(s followStream) error {
			s.Send(welcome(epoch[:]))
			return s.Send(commits(&stelev1.ReplicatedCommit{Position: 1, Commit: make([]byte, 32<<20)}))
		}, "larger than max"},
		{"is silent", func(s followStream) error { <-s.Context().Done(); return nil }, "not answered for 5s"},
		{"is busy without being of use", func(s followStream) error {
			s.Send(welcome(epoch[:]))
			for s.Context().Err() == nil {
				s.Send(commits())
				s.Send(progress(&stelev1.FollowProgress{Id: 1 << 40, Age: durationpb.New(0)}))
				time.Sleep(50 * time.Millisecond)
			}
			return nil
		}, "not answered for 5s"},
		{"ends at once", func(s followStream) error { return nil }, "EOF"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			l := &liar{follow: tc.follow}
			hostile := l.start(t)
			// The edge has begun with the honest one: its ledger is known.
			dir := t.TempDir()
			first := w.edge(t, edgeConfig{upstreams: []string{w.core.address}, tenants: []ledger.Tenant{"initech"}, dir: dir})
			until(t, "a first answer", func() bool { return first.replica.Ready() })
			first.stop()
			cfg := edgeConfig{upstreams: []string{hostile, w.core.address}, tenants: []ledger.Tenant{"acme"}}
			if tc.state == "the edge's is" {
				cfg.tenants, cfg.dir = []ledger.Tenant{"initech"}, dir
			}
			var e *gw
			var st *stelev1.UpstreamStatus
			// On a busy machine an edge leaves the hostile upstream because it is slow, before it
			// is hostile. Another edge then follows it.
			for end := time.Now().Add(2 * time.Minute); ; e.stop() {
				e = w.edge(t, cfg)
				if tc.state != "the edge's is" {
					w.equal(t, e, "acme", ledger.System)
				}
				until(t, "the honest upstream is followed", func() bool {
					all := e.client.Status()
					st = all[0]
					return all[1].Following
				})
				slow := strings.Contains(st.Error, "not answered for 5s") || strings.Contains(st.Error, context.DeadlineExceeded.Error())
				if strings.Contains(st.Error, tc.state) || !slow || time.Now().After(end) {
					break
				}
			}
			if l.follows.Load() == 0 || !strings.Contains(st.Error, tc.state) || len(st.Error) > 500 {
				t.Errorf("the hostile upstream was followed %d times; its state is %q, want %q", l.follows.Load(), st.Error, tc.state)
			}
			if got := history(e.replica, "globex"); len(got) > 0 {
				t.Errorf("the edge has %d commits of another tenant", len(got))
			}
		})
	}
}

// An upstream's claims about its age and position never make an edge's answers look
// newer than the upstream claims, and never hide commits of the next upstream.
func TestFollow_HostileProgress(t *testing.T) {
	w := startWorld(t)
	w.fill(t, 20, "acme")
	epoch, acme := w.node.Journal.Epoch(), w.raw("acme")
	for _, tc := range []struct {
		name string
		age  *durationpb.Duration
		at   uint64
		want time.Duration // least age
	}{
		{"a negative age", durationpb.New(-time.Hour), 3, 0},
		{"an age below all", &durationpb.Duration{Seconds: math.MinInt64, Nanos: math.MinInt32}, 3, 0},
		{"an age above all", &durationpb.Duration{Seconds: math.MaxInt64, Nanos: math.MaxInt32}, 3, 100 * 365 * 24 * time.Hour},
		{"no age", nil, 3, 0},
		{"a position that is not sent", durationpb.New(time.Hour), 1 << 61, time.Hour},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := &liar{}
			var polls atomic.Int32
			l.follow = func(s followStream) error {
				s.Send(welcome(epoch[:]))
				s.Send(commits(acme[:3]...))
				return answer(s, func(p *stelev1.FollowProgress) {
					p.Age, p.Position, p.LastPosition = tc.age, tc.at, tc.at
					polls.Add(1)
				})
			}
			dir := t.TempDir()
			e := w.edge(t, edgeConfig{upstreams: []string{l.start(t)}, tenants: []ledger.Tenant{"acme"}, dir: dir})
			until(t, "polls that were answered", func() bool { return polls.Load() > 2 })
			p, _ := e.replica.Progress()
			if tc.age == nil && e.replica.Ready() {
				t.Error("the edge is ready, and its upstream never was")
			}
			if age := time.Since(p.Current); p.Current.After(time.Now()) || tc.age != nil && age < tc.want {
				t.Errorf("the age is %s, want at least %s", age, tc.want)
			}
			// The edge's own edge follows while the upstream changes to the honest one.
			if tc.at == 3 {
				return
			}
			below := w.edge(t, edgeConfig{upstreams: []string{e.address}, tenants: []ledger.Tenant{"acme"}})
			until(t, "an edge of the edge", func() bool { return len(history(below.replica, "acme")) == 3 })
			e.stop()
			e = w.edge(t, edgeConfig{upstreams: []string{w.core.address}, tenants: []ledger.Tenant{"acme"}, dir: dir, address: e.address})
			w.equal(t, e, "acme")
			w.equal(t, below, "acme")
			w.write(t, "acme", "a/new", "1")
			w.equal(t, below, "acme")
		})
	}
}

// prover answers Prove as the core does.
func (w *world) prover(change func(*stelev1.ProveResponse)) func(*stelev1.ProveRequest) (*stelev1.ProveResponse, error) {
	return func(req *stelev1.ProveRequest) (*stelev1.ProveResponse, error) {
		newest, _ := w.tree.Newest()
		resp, err := replication.Prove(w.tree, newest, req)
		if err == nil && change != nil {
			change(resp)
		}
		return resp, err
	}
}

// An upstream that invents the newest commit is found out by its proof, and the edge is
// built again from another one.
func TestVerify_ForgedCommitIsDiscarded(t *testing.T) {
	w := startWorld(t)
	w.fill(t, 10, "acme")
	until(t, "a checkpoint of all", func() bool { c, _ := w.tree.Newest(); return c.Size >= 10 })
	epoch, acme := w.node.Journal.Epoch(), w.raw("acme")
	acme[9] = forge(t, acme[9], func(c *stelev1.Commit) { c.Changes[0].Value = `"forged"` })
	l := &liar{prove: w.prover(nil), follow: func(s followStream) error {
		s.Send(welcome(epoch[:]))
		s.Send(commits(acme...))
		return answer(s, func(*stelev1.FollowProgress) {})
	}}
	e := w.edge(t, edgeConfig{upstreams: []string{l.start(t), w.core.address}, tenants: []ledger.Tenant{"acme"}})
	w.equal(t, e, "acme")
	until(t, "the honest upstream has proven it", func() bool { return e.client.Status()[1].Verified != nil })
	if st := e.client.Status()[0]; st.Following || !strings.Contains(st.Error, "not in the tree") {
		t.Errorf("the liar's state is %v", st)
	}
}

// Without any proof, a forged commit is found out by the next honest upstream, once the
// liar has been caught with anything else.
func TestVerify_SuspectCommitsAreDiscarded(t *testing.T) {
	w := startWorld(t)
	w.fill(t, 10, "acme")
	epoch, acme := w.node.Journal.Epoch(), w.raw("acme")
	acme[9] = forge(t, acme[9], func(c *stelev1.Commit) { c.Changes[0].Value = `"forged"` })
	l := &liar{follow: func(s followStream) error {
		s.Send(welcome(epoch[:]))
		s.Send(commits(acme...))
		s.Send(commits(acme[0], acme[0], acme[2]))
		s.Send(commits(forge(t, acme[5], func(c *stelev1.Commit) { c.Message = "caught" })))
		return answer(s, func(*stelev1.FollowProgress) {})
	}}
	e := w.edge(t, edgeConfig{upstreams: []string{l.start(t), w.core.address}, tenants: []ledger.Tenant{"acme"}})
	w.equal(t, e, "acme")
	if st := e.client.Status(); st[0].Following || !st[1].Following {
		t.Errorf("the state is %v", st)
	}
}

func TestVerify_HostileProofs(t *testing.T) {
	w := startWorld(t)
	w.fill(t, 10, "acme")
	until(t, "a checkpoint of all", func() bool { c, _ := w.tree.Newest(); return c.Size >= 10 })
	epoch := w.node.Journal.Epoch()
	pin := t.TempDir()
	first := w.edge(t, edgeConfig{upstreams: []string{w.core.address}, tenants: []ledger.Tenant{"acme"}, dir: pin})
	until(t, "a pinned key", func() bool { return first.client.Status()[0].Verified != nil })
	first.stop()
	newest, _ := w.tree.Newest()
	old, err := replication.Prove(w.tree, newest, &stelev1.ProveRequest{})
	if err != nil {
		t.Fatal(err)
	}
	w.fill(t, 10, "acme")
	until(t, "a newer checkpoint", func() bool { c, _ := w.tree.Newest(); return c.Size >= 20 })
	acme := w.raw("acme")
	_, public, err := proof.GenerateKey(epoch)
	if err != nil {
		t.Fatal(err)
	}
	other := startWorld(t)
	other.fill(t, 30, "acme")
	until(t, "a checkpoint of another ledger", func() bool { c, _ := other.tree.Newest(); return c.Size >= 30 })
	for _, tc := range []struct {
		name   string
		change func(*stelev1.ProveResponse)
	}{
		{"a checkpoint of another ledger", func(r *stelev1.ProveResponse) {
			c, _ := other.tree.Newest()
			r.Checkpoint, r.Key = c.Note, c.Keys
		}},
		{"another key for the checkpoint", func(r *stelev1.ProveResponse) {
			r.Key = public
			r.Checkpoint = r.Checkpoint[:len(r.Checkpoint)-10] + "AAAAAAAA=\n"
		}},
		{"no checkpoint", func(r *stelev1.ProveResponse) { r.Checkpoint = "" }},
		{"a checkpoint that does not extend the old one", func(r *stelev1.ProveResponse) { r.Consistency = nil }},
		{"a consistency proof of other hashes", func(r *stelev1.ProveResponse) { r.Consistency[0][0] ^= 1 }},
		{"an older checkpoint", func(r *stelev1.ProveResponse) {
			*r = stelev1.ProveResponse{Checkpoint: old.Checkpoint, Key: old.Key, Proofs: r.Proofs}
		}},
		{"too few proofs", func(r *stelev1.ProveResponse) { r.Proofs = nil }},
		{"a proof of another commit", func(r *stelev1.ProveResponse) { r.Proofs[0].Index-- }},
		{"an index below zero", func(r *stelev1.ProveResponse) { r.Proofs[0].Index = math.MaxUint64 }},
		{"an index after the end", func(r *stelev1.ProveResponse) { r.Proofs[0].Index = 1 << 40 }},
		{"hashes that are cut", func(r *stelev1.ProveResponse) { r.Proofs[0].Hashes[0] = r.Proofs[0].Hashes[0][:5] }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			copyPin(t, pin, dir)
			l := &liar{prove: w.prover(tc.change), follow: func(s followStream) error {
				s.Send(welcome(epoch[:]))
				s.Send(commits(acme...))
				return answer(s, func(*stelev1.FollowProgress) {})
			}}
			e := w.edge(t, edgeConfig{upstreams: []string{l.start(t), w.core.address}, tenants: []ledger.Tenant{"acme"}, dir: dir})
			until(t, "a proof of the honest upstream", func() bool { return e.client.Status()[1].Verified != nil })
			w.equal(t, e, "acme")
			if st := e.client.Status()[0]; st.Verified != nil || !strings.Contains(st.Error, "not proven") {
				t.Errorf("the liar's state is %v", st)
			}
		})
	}
}

// copyPin copies what an edge knows of the ledger's key.
func copyPin(t *testing.T, from, to string) {
	t.Helper()
	for _, name := range []string{"upstream.pub", "upstream.checkpoint"} {
		b, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
