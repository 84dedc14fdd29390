package witness

import "testing"

// FuzzParseRequest parses bodies of add-checkpoint. Every body that parses has exactly one
// encoding, and the checkpoint in it is read in one way.
func FuzzParseRequest(f *testing.F) {
	const signed = "stele/0102030405060708\n5\nfX1A6cnCVD0sVVBqJf7oh7mRjCzw5BE0e7ssMZUy3TM=\n\n— stele/0102030405060708 gH69iQ==\n"
	f.Add("old 0\n\n" + signed)
	f.Add("old 3\nfX1A6cnCVD0sVVBqJf7oh7mRjCzw5BE0e7ssMZUy3TM=\nfX1A6cnCVD0sVVBqJf7oh7mRjCzw5BE0e7ssMZUy3TM=\n\n" + signed)
	f.Add("old 3\nfX1A6cnCVD0sVVBqJf7oh7mRjCzw5BE0e7ssMZUy3TN=\n\n" + signed) // bits that are not used
	f.Add("old 3\n\rfX1A6cnCVD0sVVBqJf7oh7mRjCzw5BE0e7ssMZUy3TM=\n\n" + signed)
	f.Add("old 18446744073709551615\n\n" + signed)
	f.Fuzz(func(t *testing.T, body string) {
		r, err := parseRequest(body)
		if err != nil {
			return
		}
		if got := r.String(); got != body {
			t.Errorf("read %q as %q", body, got)
		}
		if c, err := parseCheckpoint(r.signed); err == nil && (c.size < 0 || c.origin == "") {
			t.Errorf("read the checkpoint of %q as %+v", body, c)
		}
	})
}
