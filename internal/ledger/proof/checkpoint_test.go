package proof_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func keys(t *testing.T, e ledger.Epoch) (note.Signer, proof.Verifier) {
	t.Helper()
	skey, vkey, err := proof.GenerateKey(e)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	v, err := proof.ParseVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

func TestCheckpoints(t *testing.T) {
	epoch := ledger.Epoch{1, 2, 3, 4, 5, 6, 7, 8}
	signer, verifier := keys(t, epoch)
	want := proof.Checkpoint{Epoch: epoch, Size: 42, Root: tlog.RecordHash([]byte("x"))}
	signed, err := want.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	got, err := proof.Open(signed, verifier)
	if err != nil || got != want {
		t.Fatalf("%v, %v; want %v", got, err, want)
	}

	for i := range len(signed) {
		for bit := range 8 {
			b := []byte(signed)
			b[i] ^= 1 << bit
			if _, err := proof.Open(string(b), verifier); !errors.Is(err, proof.ErrInvalid) {
				t.Errorf("bit %d of byte %d flipped: %v", bit, i, err)
			}
		}
	}
	other, err := want.Sign(otherKey(t, epoch))
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]string{
		"empty": "", "cut": signed[:len(signed)-1], "another key's": other,
		"a signature more": signed + other[strings.Index(other, "—"):],
	} {
		if _, err := proof.Open(s, verifier); !errors.Is(err, proof.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}

	alien := want
	alien.Epoch[0]++
	if signed, err = alien.Sign(signer); err != nil {
		t.Fatal(err)
	}
	if _, err := proof.Open(signed, verifier); !errors.Is(err, proof.ErrOtherLedger) {
		t.Errorf("of another ledger: %v", err)
	}
}

func otherKey(t *testing.T, e ledger.Epoch) note.Signer {
	s, _ := keys(t, e)
	return s
}
