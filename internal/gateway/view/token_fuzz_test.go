package view

import "testing"

func FuzzParsePageToken(f *testing.F) {
	f.Add("MCwzLTAxMDIwMzA0MDUwNjA3MDg6YS9i") // 0,3-0102030405060708:a/b
	f.Add("MSwyOg")                           // 1,2:
	f.Add("OSwxOmE")                          // 9,1:a
	f.Fuzz(func(t *testing.T, text string) {
		token, err := ParsePageToken(text)
		if err != nil {
			return
		}
		if token.To.Revision == 0 || token.From.Revision > token.To.Revision {
			t.Errorf("%q: from %d to %d", text, token.From.Revision, token.To.Revision)
		}
		for _, id := range [][]byte{token.From.ID, token.To.ID} {
			if len(id) != 0 && len(id) != ShortID {
				t.Errorf("%q: an id of %d bytes", text, len(id))
			}
		}
	})
}
