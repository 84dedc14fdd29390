package projector

import (
	"context"
	"errors"
	"strings"

	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/secret"
)

// Secrets opens encrypted values: a secret.Keyring.
type Secrets interface {
	Reveal(ctx context.Context, t ledger.Tenant, key ledger.Key, v ledger.Value) (ledger.Value, error)
}

// disclose puts in the place of a secret what the sink gets of it: the secret itself
// where the sink and the route keep it one, and else secret.Mask. One whose key was
// destroyed is deleted: nothing is left to write. The error is a *RefusedError for one
// that this ledger cannot open.
func (r *runner) disclose(ctx context.Context, w *Write) error {
	sealed := secret.Sealed(w.Value)
	switch {
	case w.Deleted() || w.Route == nil || !sealed && !w.Route.Secret:
		return nil
	case !r.limits.Secrets || !w.Route.Secure:
		w.Value = secret.Mask
		return nil
	case !r.p.cfg.Destinations.secrets(r.spec):
		// Not the mask: it would replace the secret that an earlier run has written.
		return Refuse("this process does not allow sink %s to receive secrets: start it with --sink-secrets %s, or take the secret route out", r.name, r.name)
	case !sealed: // it was written before its key was secret
		return nil
	case r.p.cfg.Secrets == nil:
		return Refuse("%v", secret.ErrNoKEK)
	}
	v, err := r.p.cfg.Secrets.Reveal(ctx, w.Tenant, w.Key, w.Value)
	switch {
	case errors.Is(err, secret.ErrDestroyed):
		v, err = "", nil
	case errors.Is(err, secret.ErrNoKEK), errors.Is(err, secret.ErrAltered):
		err = Refuse("%v", err)
	}
	w.Value = v
	return err
}

// deliver writes to the sink, but for what cannot be disclosed.
func (r *runner) deliver(ctx context.Context, writes []Write) ([]error, error) {
	errs := make([]error, len(writes))
	open, at := make([]Write, 0, len(writes)), make([]int, 0, len(writes))
	var told []ledger.Value // secrets that the sink is told
	for i, w := range writes {
		was := w.Value
		if errs[i] = r.disclose(ctx, &w); errs[i] != nil {
			continue
		}
		open, at = append(open, w), append(at, i)
		if secret.Sealed(was) && w.Value != secret.Mask {
			told = append(told, w.Value)
		}
	}
	if len(open) == 0 {
		return errs, nil
	}
	written, err := r.sink.Write(ctx, open)
	if err != nil || len(written) != len(open) {
		return written, withhold(err, told)
	}
	for i, err := range written {
		errs[at[i]] = withhold(err, told)
	}
	return errs, nil
}

// withhold replaces an error that repeats a secret: errors are logged, told and
// kept, and services like to quote what they do not like.
func withhold(err error, secrets []ledger.Value) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	for _, v := range secrets {
		text := strings.Trim(string(v), `"`)
		if text == "" || !strings.Contains(err.Error(), text) {
			continue
		}
		const why = "the sink says why, and repeats the secret: that is not told here"
		var refused *RefusedError
		if errors.As(err, &refused) {
			return &RefusedError{Reason: why, Other: refused.Other}
		}
		return errors.New(why)
	}
	return err
}
