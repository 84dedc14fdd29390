package text

import "testing"

func TestUTF8(t *testing.T) {
	for text, want := range map[string]string{
		"":                           "",
		"a":                          "a",
		"\xef\xbb\xbf[\"ä\"]":        `["ä"]`,
		"\xff\xfe[\x00\xe4\x00]\x00": "[ä]",
		"\xfe\xff\x00[\x00\xe4\x00]": "[ä]",
		"[\x00]\x00":                 "[]",
		"\x00[\x00]":                 "[]",
	} {
		if got, err := UTF8([]byte(text)); err != nil || string(got) != want {
			t.Errorf("%q is %q, %v; want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"\xff\xfe[", "a\xff"} {
		if got, err := UTF8([]byte(text)); err == nil {
			t.Errorf("%q is taken as %q", text, got)
		}
	}
}

func TestLatin1(t *testing.T) {
	for data, want := range map[string]string{
		"a=\xe4":         "a=ä",
		"a=ä":            "a=ä",
		"\xff\xfea\x00":  "a",
		"\xff\xfea":      "ÿþa",
		"\xef\xbb\xbfa=": "a=",
	} {
		if got, latin1 := Latin1([]byte(data)); string(got) != want || latin1 != (data == "a=\xe4" || data == "\xff\xfea") {
			t.Errorf("%q is %q, Latin-1: %t; want %q", data, got, latin1, want)
		}
	}
}
