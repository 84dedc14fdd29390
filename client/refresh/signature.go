package refresh

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// SignatureHeader carries a webhook's signature, as Sign makes it.
const SignatureHeader = "Stele-Signature"

// tolerance is how far a signature's time may be from the receiver's clock.
const tolerance = 5 * time.Minute

// Sign signs a webhook's body: "t=SECONDS,v1=HEX", where HEX is the HMAC-SHA256
// under the secret of SECONDS (since 1970 UTC), a dot and the body.
func Sign(secret string, at time.Time, body []byte) string {
	seconds := strconv.FormatInt(at.Unix(), 10)
	return "t=" + seconds + ",v1=" + hex.EncodeToString(mac(secret, seconds, body))
}

func mac(secret, seconds string, body []byte) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(seconds + "."))
	h.Write(body)
	return h.Sum(nil)
}

// signature names one signed message: its HMAC under the receiver's secret.
type signature [sha256.Size]byte

// verify returns the signature of a body that was recently signed with a known secret.
func verify(secrets []string, header string, now time.Time, body []byte) (signature, error) {
	at, code, ok := strings.Cut(header, ",")
	seconds, isTime := strings.CutPrefix(at, "t=")
	code, isCode := strings.CutPrefix(code, "v1=")
	unix, err := strconv.ParseInt(seconds, 10, 64)
	got, badCode := hex.DecodeString(code)
	if !ok || !isTime || !isCode || err != nil || badCode != nil {
		return signature{}, fmt.Errorf("send %s: t=SECONDS,v1=HEX", SignatureHeader)
	}
	for _, s := range secrets {
		if want := mac(s, seconds, body); hmac.Equal(got, want) {
			if age := now.Sub(time.Unix(unix, 0)); age > tolerance || age < -tolerance {
				return signature{}, fmt.Errorf("the signature's time is more than %s from this clock", tolerance)
			}
			return signature(want), nil
		}
	}
	return signature{}, errors.New("the signature does not fit the body and the secret of this service")
}

// replays remembers the signatures that were served for as long as verify would
// take them again: at most twice the tolerance.
type replays struct {
	mu            sync.Mutex // guards the fields below
	recent, older map[signature]bool
	turned        time.Time
}

func (r *replays) has(s signature, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(now)
	return r.recent[s] || r.older[s]
}

func (r *replays) add(s signature, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(now)
	r.recent[s] = true
}

// turn forgets the signatures that came before the last turn, when that is long ago.
func (r *replays) turn(now time.Time) {
	if r.recent == nil || now.Sub(r.turned) > 2*tolerance {
		r.older, r.recent, r.turned = r.recent, make(map[signature]bool), now
	}
}
