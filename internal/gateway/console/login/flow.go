package login

import (
	"crypto/rand"
	"crypto/subtle"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/oauth2"
)

// flowTimeout is how long a login at the provider may take.
const flowTimeout = 10 * time.Minute

// flow is a login in progress, kept in the user's browser only.
type flow struct {
	state    string // returned by the provider
	nonce    string // returned in the ID token
	verifier string // PKCE's: only the browser that began has it
	to       string // the page to redirect to after the login
	until    time.Time
}

func newFlow(to string) flow {
	return flow{rand.Text(), rand.Text(), oauth2.GenerateVerifier(), LocalPath(to), time.Now().Add(flowTimeout)}
}

func (f flow) String() string {
	return url.Values{
		"s": {f.state}, "n": {f.nonce}, "v": {f.verifier}, "to": {f.to}, "until": {strconv.FormatInt(f.until.Unix(), 10)},
	}.Encode()
}

// parseFlow reads the cookie of a flow, which may be forged.
func parseFlow(s string) (flow, bool) {
	v, err := url.ParseQuery(s)
	until, errUntil := strconv.ParseInt(v.Get("until"), 10, 64)
	if err != nil || errUntil != nil || v.Get("s") == "" || v.Get("n") == "" || v.Get("v") == "" {
		return flow{}, false
	}
	return flow{v.Get("s"), v.Get("n"), v.Get("v"), LocalPath(v.Get("to")), time.Unix(until, 0)}, true
}

// begun reports whether a callback with this state belongs to this login, in time.
func (f flow) begun(state string) bool {
	return subtle.ConstantTimeCompare([]byte(state), []byte(f.state)) == 1 && time.Now().Before(f.until)
}
