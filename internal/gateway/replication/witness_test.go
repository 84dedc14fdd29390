package replication_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// An edge that requires a witness leaves an upstream whose checkpoint the witness has not
// cosigned, though the ledger's key has signed it.
func TestVerify_WitnessQuorum(t *testing.T) {
	w := startWorld(t)
	w.fill(t, 10, "acme")
	until(t, "a checkpoint of all", func() bool { c, _ := w.tree.Newest(); return c.Size >= 10 })
	epoch, acme := w.node.Journal.Epoch(), w.raw("acme")
	secret, public, err := proof.GenerateCosigner("witness.example/w1")
	if err != nil {
		t.Fatal(err)
	}
	cosigner, err := proof.ParseCosigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	witnesses, err := proof.ParseWitnesses([]string{public}, 1)
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan uint32, 100)
	upstream := func(change func(*stelev1.ProveResponse)) string {
		answerProof := w.prover(change)
		l := &liar{prove: func(req *stelev1.ProveRequest) (*stelev1.ProveResponse, error) {
			select {
			case asked <- req.Cosignatures:
			default:
			}
			return answerProof(req)
		}, follow: func(s followStream) error {
			s.Send(welcome(epoch[:]))
			s.Send(commits(acme...))
			return answer(s, func(*stelev1.FollowProgress) {})
		}}
		return l.start(t)
	}
	plain := upstream(nil)
	cosigned := upstream(func(r *stelev1.ProveResponse) {
		text, _, _ := strings.Cut(r.Checkpoint, "\n\n")
		r.Checkpoint += cosigner.Cosign(text+"\n", time.Now())
	})
	e := w.edge(t, edgeConfig{upstreams: []string{plain, cosigned}, tenants: []ledger.Tenant{"acme"}, witnesses: witnesses})
	until(t, "a proof of the upstream with cosignatures", func() bool { return e.client.Status()[1].Verified != nil })
	w.equal(t, e, "acme")
	if st := e.client.Status()[0]; st.Verified != nil || !strings.Contains(st.Error, "0 of the 1 witnesses") {
		t.Errorf("the state of the upstream without cosignatures is %v", st)
	}
	if n := <-asked; n != 1 {
		t.Errorf("the edge asks for %d cosignatures, want 1", n)
	}
}
