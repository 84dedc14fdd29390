package systemtest

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/proto"
)

// letter is a message of a stream.
type letter struct {
	subject string
	body    []byte
}

// streamTampers replace streams, through a server, as an attacker who owns the machine
// and knows the format could.
func streamTampers() []tamper {
	commits := func(kind string, edit func(l []letter, rng *rand.Rand) []letter) tamper {
		return tamper{"journal, remade", kind, func(t *testing.T, e *evidence, rng *rand.Rand) string {
			return remake(t, e, func(name string) bool { return name != "STELE-CHECKPOINTS" }, edit, rng)
		}}
	}
	checkpoints := func(kind string, edit func(t *testing.T, l []letter, rng *rand.Rand) []letter) tamper {
		return tamper{"checkpoints, remade", kind, func(t *testing.T, e *evidence, rng *rand.Rand) string {
			return remake(t, e, func(name string) bool { return name == "STELE-CHECKPOINTS" }, func(l []letter, rng *rand.Rand) []letter { return edit(t, l, rng) }, rng)
		}}
	}
	drop := func(l []letter, rng *rand.Rand) []letter {
		i := rng.IntN(len(l))
		return append(l[:i], l[i+1:]...)
	}
	cut := func(l []letter, rng *rand.Rand) []letter { return l[:rng.IntN(len(l))] }
	swap := func(l []letter, rng *rand.Rand) []letter {
		p := rng.Perm(len(l))
		l[p[0]], l[p[1]] = l[p[1]], l[p[0]]
		return l
	}
	return []tamper{
		commits("drop a message", drop),
		commits("cut", cut),
		commits("reorder messages", swap),
		commits("repeat a message", func(l []letter, rng *rand.Rand) []letter {
			i := rng.IntN(len(l))
			return append(l[:i+1], l[i:]...)
		}),
		commits("replace a commit", func(l []letter, rng *rand.Rand) []letter {
			i := rng.IntN(len(l))
			l[i].body = editRecord(l[i].body, rng)
			return l
		}),
		commits("join two messages", func(l []letter, rng *rand.Rand) []letter {
			i := rng.IntN(len(l) - 1)
			l[i].body = slices.Concat(l[i].body, l[i+1].body)
			return slices.Delete(l, i+1, i+2)
		}),
		commits("split a message", func(l []letter, rng *rand.Rand) []letter {
			for _, i := range rng.Perm(len(l)) {
				if r := recordIn(l[i]); len(r.Commits) > 1 {
					at := 1 + rng.IntN(len(r.Commits)-1)
					l[i].body = bodyOf(r.Commits[:at])
					return slices.Insert(l, i+1, letter{l[i].subject, bodyOf(r.Commits[at:])})
				}
			}
			panic("no message has two commits")
		}),
		commits("reorder a message's tenants", func(l []letter, rng *rand.Rand) []letter {
			for _, i := range rng.Perm(len(l)) {
				commits := recordIn(l[i]).Commits
				first := commitIn(commits[0]).Tenant
				if n := slices.IndexFunc(commits, func(b []byte) bool { return commitIn(b).Tenant != first }); n > 0 {
					l[i].body = bodyOf(slices.Concat(commits[n:], commits[:n]))
					return l
				}
			}
			panic("no message has two tenants")
		}),
		commits("rewrite a tenant's history", func(l []letter, rng *rand.Rand) []letter { return rewrite(l, rng) }),
		checkpoints("drop a message", func(_ *testing.T, l []letter, rng *rand.Rand) []letter { return drop(l, rng) }),
		checkpoints("cut", func(_ *testing.T, l []letter, rng *rand.Rand) []letter { return cut(l, rng) }),
		checkpoints("reorder messages", func(_ *testing.T, l []letter, rng *rand.Rand) []letter { return swap(l, rng) }),
		checkpoints("sign with another key", func(t *testing.T, l []letter, rng *rand.Rand) []letter {
			i := rng.IntN(len(l))
			forged, _ := forge(t, string(l[i].body))
			l[i].body = []byte(forged)
			return l
		}),
	}
}

// editRecord replaces one of the record's commits.
func editRecord(body []byte, rng *rand.Rand) []byte {
	commits := recordIn(letter{body: body}).Commits
	i := rng.IntN(len(commits))
	commits[i] = editCommit(commits[i], rng)
	return bodyOf(commits)
}

func recordIn(l letter) *stelev1.Record {
	r := new(stelev1.Record)
	if err := proto.Unmarshal(l.body, r); err != nil {
		panic(err)
	}
	return r
}

func commitIn(encoded []byte) *stelev1.Commit {
	c := new(stelev1.Commit)
	if err := proto.Unmarshal(encoded, c); err != nil {
		panic(err)
	}
	return c
}

func bodyOf(commits [][]byte) []byte {
	b, err := proto.Marshal(&stelev1.Record{Commits: commits})
	if err != nil {
		panic(err)
	}
	return b
}

// rewrite replaces a commit, and chains all of the tenant's later ones to it.
func rewrite(l []letter, rng *rand.Rand) []letter {
	from := rng.IntN(len(l))
	commits := recordIn(l[from]).Commits
	first := rng.IntN(len(commits))
	tenant := commitIn(commits[first]).Tenant
	var parent *ledger.CommitID
	for i := from; i < len(l); i++ {
		commits := recordIn(l[i]).Commits
		for n := range commits {
			c := commitIn(commits[n])
			switch {
			case i == from && n < first, c.Tenant != tenant:
				continue
			case parent == nil:
				commits[n] = editCommit(commits[n], rng)
			default:
				c.Parent = parent[:]
				commits[n], _ = proto.Marshal(c)
			}
			id := ledger.IDOf(commits[n])
			parent = &id
		}
		l[i].body = bodyOf(commits)
	}
	return l
}

// remake edits the messages of a stream that has at least two.
func remake(t *testing.T, e *evidence, which func(name string) bool, edit func([]letter, *rand.Rand) []letter, rng *rand.Rand) string {
	t.Helper()
	s, err := journal.StartServer(journal.ServerConfig{Dir: filepath.Join(e.data, "journal"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	nc, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for info := range js.ListStreams(t.Context()).Info() {
		name := info.Config.Name
		if ok := name == "STELE" || name == "STELE-CHECKPOINTS"; ok && which(name) && info.State.Msgs > 1 {
			names = append(names, name)
		}
	}
	name := names[rng.IntN(len(names))]
	stream, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	var letters []letter
	for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
		m, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		letters = append(letters, letter{m.Subject, m.Data})
	}
	before := fmt.Sprint(letters)
	letters = edit(letters, rng)
	if fmt.Sprint(letters) == before {
		t.Fatal("nothing was changed")
	}
	if err := js.DeleteStream(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	ledgertest.RecreateStream(t, js, stream.CachedInfo().Config)
	for _, l := range letters {
		m := nats.NewMsg(l.subject)
		m.Data = l.body
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	return name
}
