package fakeaws

import (
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"golang.org/x/time/rate"
)

// Faults are the faults to inject from now on. The zero Faults injects none. Shares are
// probabilities, from 0 to 1: with 1 it happens to every call.
type Faults struct {
	// Rates are the most calls per second of operations, by their names; calls above
	// are answered with a ThrottlingException. The calls of one second may come at
	// once.
	Rates map[string]float64
	// Throttled is the share of calls that are answered with a ThrottlingException,
	// and nothing is done.
	Throttled float64
	// Broken is the share of calls that are answered with an InternalServerError,
	// and nothing is done.
	Broken float64
	// Lost is the share of calls that are done and whose answer is lost: the
	// connection closes.
	Lost float64
	// Operations that Throttled, Broken, Lost and Delay are for; none means all.
	Operations []string
	// Delay is how long a call takes.
	Delay time.Duration
	// DeadKeys are keys of KMS, as parameters name them, that nothing can be
	// encrypted or decrypted with.
	DeadKeys []string
	// FailedEntries is the share of the entries of PutEvents that fail, with an
	// error code that says to try again.
	FailedEntries float64
	// Poison gives entries an error code, as long as it likes; "" for none.
	Poison func(Event) (errorCode string)
	// Denied are operations that are answered with an AccessDeniedException.
	Denied []string
	// Policy reports whether a caller may make a call; it gets the call's body, or for S3
	// the URL; nil allows everything. Denied calls are answered like Denied.
	Policy func(by Caller, operation string, request []byte) bool
	// UnknownKeys has KMS reject unknown keys: all except alias/aws/ssm and
	// keys of AddKey. Without it any name of a key is one.
	UnknownKeys bool
	// MissingBus has PutEvents answer with a ResourceNotFoundException for a bus that
	// is not there, as stand-ins for AWS do. AWS itself takes the events and drops them.
	MissingBus bool
	// DescribedAt, if set, is the time whose state DescribeParameters and ListSecrets
	// return: they are only eventually consistent.
	DescribedAt time.Time
	// Baking keeps deployments of AppConfig that begin under it in the state BAKING, until
	// the faults are replaced.
	Baking bool
	// Before is called before an operation is done, e.g. to change by hand what it is
	// about; nil for nothing.
	Before func(operation string)
	// ShortPages cuts pages of parameters short, down to none with a NextToken, as
	// AWS may when it reaches a limit of its own.
	ShortPages bool
}

// SetFaults replaces the injected faults.
func (a *account) SetFaults(f Faults) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.faults = faults{Faults: f, limiters: make(map[string]*rate.Limiter)}
	for operation, r := range f.Rates {
		a.faults.limiters[operation] = rate.NewLimiter(rate.Limit(r), max(1, int(math.Ceil(r))))
	}
}

type faults struct {
	Faults
	limiters map[string]*rate.Limiter
}

// fate is the fault of one call.
type fate struct {
	err   error
	lose  bool
	delay time.Duration
}

// arrive counts a call and decides its fate.
func (a *account) arrive(operation string, by Caller, request []byte) fate {
	a.mu.Lock()
	before := a.faults.Before
	a.mu.Unlock()
	if before != nil {
		before(operation)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls[operation]++
	f := &a.faults
	if l := f.limiters[operation]; l != nil && !l.Allow() {
		return fate{err: fail("ThrottlingException", "Rate exceeded")}
	}
	if slices.Contains(f.Denied, operation) || f.Policy != nil && !f.Policy(by, operation, request) {
		return fate{err: fail("AccessDeniedException", "User: arn:aws:sts::%s:assumed-role/projector is not authorized to perform: %s", Account, operation)}
	}
	if len(f.Operations) > 0 && !slices.Contains(f.Operations, operation) {
		return fate{}
	}
	out := fate{lose: happens(f.Lost), delay: f.Delay}
	switch {
	case happens(f.Throttled):
		out.err = fail("ThrottlingException", "Rate exceeded")
	case happens(f.Broken):
		out.err = &apiError{"InternalServerError", "An error occurred on the server side.", http.StatusInternalServerError}
	}
	return out
}

// checkKey checks a key for encryption or decryption.
func (a *account) checkKey(v Version) error {
	if v.Type == SecureString && a.faults.UnknownKeys && v.KeyID != defaultKey && !a.keys[v.KeyID] {
		return fail("InvalidKeyId", "Invalid keyId %s", v.KeyID)
	}
	if v.Type == SecureString && slices.Contains(a.faults.DeadKeys, v.KeyID) {
		return fail("InvalidKeyId", "%s is disabled.", v.KeyID)
	}
	return nil
}

func happens(share float64) bool { return share > 0 && rand.Float64() < share }
