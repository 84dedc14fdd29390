package proof_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
)

// A key and a cosignature that github.com/transparency-dev/formats made.
const (
	otherWitness  = "witness.example/w1+e75f6532+BAOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
	otherCosigned = "stele/0102030405060708\n42\nfX1A6cnCVD0sVVBqJf7oh7mRjCzw5BE0e7ssMZUy3TM=\n\n" +
		"— witness.example/w1 519lMgAAAABrDLyTZfUaIwlzWcJ/dGUriSKH9u7qxfEW6PfyTKhe9fEmFCbOvqjcQC/fLUUbioa7SIx0IJvptJ/6oJAgzUpGvc4KAw==\n"
)

func TestCosignatures_OfAnotherImplementation(t *testing.T) {
	w, err := proof.ParseWitnesses([]string{otherWitness}, 1)
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.Cosignatures(otherCosigned)
	if err != nil || len(got) != 1 || got[0].Witness.String() != otherWitness {
		t.Fatalf("%v, %v", got, err)
	}
	if _, err := w.Cosignatures(strings.Replace(otherCosigned, "42", "43", 1)); err == nil {
		t.Error("the cosignature of another checkpoint verifies")
	}
}

func TestOpen_Quorum(t *testing.T) {
	epoch := ledger.Epoch{1, 2, 3, 4, 5, 6, 7, 8}
	signer, key := keys(t, epoch)
	c := proof.Checkpoint{Epoch: epoch, Size: 42}
	signed, err := c.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	var public, lines []string
	for _, name := range []string{"w.example/1", "w.example/2", "w.example/3"} {
		secret, witness, err := proof.GenerateCosigner(name)
		if err != nil {
			t.Fatal(err)
		}
		cosigner, err := proof.ParseCosigner(secret + "\n")
		if err != nil || cosigner.Public().String() != witness {
			t.Fatal(cosigner.Public(), err)
		}
		public, lines = append(public, witness), append(lines, cosigner.Cosign(c.Text(), time.Unix(1_800_000_000, 0)))
	}
	other := c
	other.Size++
	stranger, _, err := proof.GenerateCosigner("w.example/4")
	if err != nil {
		t.Fatal(err)
	}
	unknown, err := proof.ParseCosigner(stranger)
	if err != nil {
		t.Fatal(err)
	}
	damaged := []byte(lines[1])
	damaged[len(damaged)-8] ^= 1
	secret, err := proof.ParseWitnesses(public, 0)
	if err != nil || secret.Quorum != 2 {
		t.Fatalf("the majority of 3 is %d, %v", secret.Quorum, err)
	}
	for name, tc := range map[string]struct {
		signed string
		quorum int
		ok     bool
	}{
		"none is required":             {signed, 0, true},
		"none has cosigned":            {signed, 1, false},
		"one of one":                   {signed + lines[0], 1, true},
		"one of two":                   {signed + lines[0], 2, false},
		"the same twice":               {signed + lines[0] + lines[0], 2, false},
		"two":                          {signed + lines[0] + lines[2], 2, true},
		"three":                        {signed + lines[2] + lines[1] + lines[0], 3, true},
		"one that is not known":        {signed + unknown.Cosign(c.Text(), time.Unix(1_800_000_000, 0)), 1, false},
		"also one that is not known":   {signed + unknown.Cosign(c.Text(), time.Unix(1_800_000_000, 0)) + lines[0], 1, true},
		"of another checkpoint":        {signed + lines[0] + unknown.Cosign(other.Text(), time.Unix(1, 0)), 2, false},
		"one that does not verify":     {signed + lines[0] + string(damaged), 1, false},
		"without a time":               {signed + unknown.Cosign(c.Text(), time.Unix(0, 0)), 1, false},
		"before the ledger's":          {strings.Replace(signed, "\n\n", "\n\n"+lines[0], 1), 1, false},
		"only the cosignatures":        {c.Text() + "\n" + lines[0] + lines[1], 1, false},
		"more that is no cosignature":  {signed + lines[0] + "— w.example/x AAAAAAAA\n", 1, false},
		"another signature of the key": {signed + lines[0] + signed[strings.Index(signed, "—"):], 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := proof.ParseWitnesses(public, max(tc.quorum, 1))
			if err != nil {
				t.Fatal(err)
			}
			w.Quorum = tc.quorum
			got, err := proof.Open(tc.signed, key.Require(w))
			if (err == nil) != tc.ok || err != nil && !errors.Is(err, proof.ErrInvalid) {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	for name, keys := range map[string][]string{
		"twice the same":   {public[0], public[0]},
		"a ledger's key":   {key.String()},
		"an ordinary note": {strings.Replace(otherWitness, "+BA", "+AQ", 1)},
		"another hash":     {strings.Replace(public[0], "+", "+0", 1)},
		"nothing":          {""},
	} {
		if _, err := proof.ParseWitnesses(keys, 1); err == nil {
			t.Errorf("%s is read", name)
		}
	}
	if _, err := proof.ParseWitnesses(public, 4); err == nil {
		t.Error("a quorum of 4 of 3 is accepted")
	}
}
