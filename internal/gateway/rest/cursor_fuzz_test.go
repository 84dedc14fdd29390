package rest

import "testing"

func FuzzParsePosition(f *testing.F) {
	f.Add("0102-7")
	f.Add("0102-7-3-0102030405060708-acme")
	f.Fuzz(func(t *testing.T, text string) {
		epoch, _, last, ok := parsePosition(text)
		if ok && (len(epoch) == 0 || last != nil && last.Revision > 0 && len(last.Id) != shortID) {
			t.Errorf("%q: epoch %x, last %v", text, epoch, last)
		}
		if revision, id, ok := parsePlace(text); ok && revision > 0 && place(revision, id) != text {
			t.Errorf("%q: parsed as %s", text, place(revision, id))
		}
	})
}
