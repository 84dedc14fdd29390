package proof_test

import (
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger/proof"
	"golang.org/x/mod/sumdb/note"
)

// rotate has the book's key hand over to another one, and returns the old signer.
func (b *book) rotate(t *testing.T) (old note.Signer, handover string) {
	t.Helper()
	secret, public, err := proof.GenerateKey(b.epoch)
	if err != nil {
		t.Fatal(err)
	}
	old, next := b.signer, signerOf(t, secret)
	c, err := proof.Open(b.checkpoint(t), b.key)
	if err != nil {
		t.Fatal(err)
	}
	c.Successor = public
	if handover, err = c.Sign(old, next); err != nil {
		t.Fatal(err)
	}
	if b.key, err = b.key.Succeed(handover); err != nil {
		t.Fatal(err)
	}
	b.signer = next
	return old, handover
}

// Both verifiers accept what a successor has signed, and refuse what the old key signs
// after its handover.
func TestVerifiers_KeyWasHandedOver(t *testing.T) {
	b := sample(t, 5)
	alone := b.key
	old, handover := b.rotate(t)
	atHandover := proof.Receipt{Proven: b.prove(t, 2), Signed: handover}.Text()
	b.write(t, "acme", nil)
	before, err := proof.ParseVerifier(b.key.Keys())
	if err != nil {
		t.Fatal(err)
	}
	second, _ := b.rotate(t)
	for range 4 {
		b.write(t, "acme", nil)
	}
	signedBy := func(s note.Signer) string {
		was := b.signer
		defer func() { b.signer = was }()
		b.signer = s
		return b.receipt(t, 3)
	}
	newest := b.receipt(t, 3)
	for name, c := range map[string]struct {
		receipt string
		key     proof.Verifier
		valid   bool
	}{
		"the newest key's":                       {newest, b.key, true},
		"with the first key only":                {newest, alone, false},
		"with the first two keys":                {newest, before, false},
		"the first key's, after its handover":    {signedBy(old), b.key, false},
		"the first key's, to who has only it":    {signedBy(old), alone, true},
		"the second key's, after its handover":   {signedBy(second), b.key, false},
		"the second key's, to who has those two": {signedBy(second), before, true},
		"the handover itself":                    {atHandover, b.key, true},
		"the handover, with the first key only":  {atHandover, alone, true},
	} {
		if err := verifyReceipt(c.receipt, c.key); (err == nil) != c.valid {
			t.Errorf("%s: %v", name, err)
		}
		if err := secondReceipt(c.receipt, c.key.Keys()); (err == nil) != c.valid {
			t.Errorf("%s: the second verifier: %v", name, err)
		}
	}
	file := b.audit(t, "acme", 2, 5)
	if err := verifyAudit(file, &b.key); err != nil {
		t.Error(err)
	}
	if err := secondAudit(file, b.key.Keys()); err != nil {
		t.Error("the second verifier of an audit file:", err)
	}
	if err := secondAudit(file, alone.Keys()); err == nil {
		t.Error("the second verifier accepts an audit file of a key that it does not know")
	}

	// Keys that were changed.
	keys := b.key.Keys()
	blocks := strings.Split(strings.TrimSuffix(keys, "\n"), "\n\n")
	join := func(of ...int) string {
		var parts []string
		for _, i := range of {
			parts = append(parts, blocks[i])
		}
		return strings.Join(parts, "\n\n") + "\n"
	}
	bad := []string{join(0, 1), join(0, 3, 4), join(0, 3, 4, 1, 2), join(0, 1, 4, 3, 2), join(1, 2), join(0, 1, 2, 1, 2, 3, 4)}
	for i := range len(keys) {
		changed := []byte(keys)
		changed[i] ^= 1
		bad = append(bad, string(changed))
	}
	for _, text := range bad {
		v, err := proof.ParseVerifier(text)
		if err == nil {
			err = verifyReceipt(newest, v)
		}
		second := secondReceipt(newest, text)
		if (err == nil) != (second == nil) {
			t.Errorf("%q: %v, and the second verifier: %v", text, err, second)
		}
	}
	t.Logf("%d lists of keys that were changed", len(bad))
}
