package refresh

import (
	"testing"
	"time"
)

// The format is a promise to receivers in other languages: this one is from
// Python's hmac module.
func TestSign(t *testing.T) {
	const want = "t=1764000000,v1=19b692a3b3faad0515d4b643aa46cb06d55d8258053f2ffb472c2134aa59171c"
	if got := Sign("0123456789abcdef", time.Unix(1764000000, 0), []byte(`{"a":1}`)); got != want {
		t.Errorf("the signature is %s, not %s", got, want)
	}
}

func FuzzVerify(f *testing.F) {
	now := time.Unix(1764000000, 0)
	body := []byte(`{"a":1}`)
	secrets := []string{"0123456789abcdef"}
	good := Sign(secrets[0], now, body)
	f.Add(good)
	f.Add("t=,v1=")
	f.Add("t=9223372036854775807,v1=00")
	f.Fuzz(func(t *testing.T, header string) {
		if _, err := verify(secrets, header, now, body); err == nil && header != good {
			// The same signature may be written in capitals, nothing else may differ.
			if s, err := verify(secrets, good, now, body); err != nil || len(header) != len(good) {
				t.Errorf("%q is taken for %x", header, s)
			}
		}
	})
}
