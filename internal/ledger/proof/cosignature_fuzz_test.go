package proof

import (
	"testing"
	"time"
)

func FuzzCosignatures(f *testing.F) {
	secret, public, err := GenerateCosigner("w.example/1")
	if err != nil {
		f.Fatal(err)
	}
	cosigner, err := ParseCosigner(secret)
	if err != nil {
		f.Fatal(err)
	}
	witnesses, err := ParseWitnesses([]string{public}, 0)
	if err != nil {
		f.Fatal(err)
	}
	const text = "stele/0102030405060708090a0b0c0d0e0f10\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
	signed := text + "\n" + cosigner.Cosign(text, time.Unix(1, 0))
	if got, err := witnesses.Cosignatures(signed); err != nil || len(got) != 1 {
		f.Fatalf("%d cosignatures, %v", len(got), err)
	}
	f.Add(signed)
	f.Add(signed + cosigner.Cosign(text, time.Unix(2, 0)))
	f.Add(text + "\n— w.example/1 AAAA\n")
	f.Fuzz(func(t *testing.T, note string) {
		if c, err := ParseCheckpoint(note); err == nil && (c.Size < 0 || c.Text() == "") {
			t.Errorf("%q: %+v", note, c)
		}
		got, err := witnesses.Cosignatures(note)
		if err == nil && len(got) > 0 && note[:len(text)] != text {
			t.Errorf("%q has a cosignature that was not made", note)
		}
	})
}

func FuzzParseWitnessKey(f *testing.F) {
	_, public, err := GenerateCosigner("w.example/1")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(public)
	f.Add("a+00000000+BA==")
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParseWitnessKey(text)
		if err != nil {
			return
		}
		if again, err := ParseWitnessKey(k.String()); err != nil || again.String() != k.String() {
			t.Errorf("%q: %q, and again %q, %v", text, k, again, err)
		}
		k.Verify([]byte(text), []byte(text))
	})
}
