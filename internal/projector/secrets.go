package projector

import (
	"context"
	"errors"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/secret"
)

// Secrets opens encrypted values: a secret.Keyring.
type Secrets interface {
	Reveal(ctx context.Context, t ledger.Tenant, key ledger.Key, v ledger.Value) (ledger.Value, error)
}

// disclose replaces a secret by the value for the sink: the secret itself if the sink
// and the route keep secrets, otherwise secret.Mask. A secret whose key was destroyed
// is deleted: nothing is left to write. The error is a *RefusedError for one that this
// ledger cannot decrypt.
func (b *builder) disclose(ctx context.Context, w *Write) error {
	sealed := secret.Sealed(w.Value)
	switch {
	case w.Deleted() || w.Route == nil || !sealed && !w.Route.Secret:
		return nil
	case !b.limits.Secrets || !w.Route.Secure:
		w.Value = secret.Mask
		return nil
	case !b.p.cfg.Destinations.secrets(b.spec):
		// Not the mask: it would replace the secret that an earlier run has written.
		return Refuse("this process does not allow sink %s to receive secrets: start it with --sink-secrets %s, or take the secret route out", b.name, b.name)
	case !sealed: // it was written before its key was secret
		return nil
	case b.p.cfg.Secrets == nil:
		return Refuse("%v", secret.ErrNoKEK)
	}
	v, err := b.p.cfg.Secrets.Reveal(ctx, w.Base.Owner(w.Tenant), w.Key, w.Value)
	switch {
	case errors.Is(err, secret.ErrDestroyed):
		v, err = "", nil
	case errors.Is(err, secret.ErrNoKEK), errors.Is(err, secret.ErrAltered):
		err = Refuse("%v", err)
	}
	w.Value = v
	return err
}

// withhold replaces an error that repeats a secret: errors are logged, shown and
// stored, and services like to quote invalid input.
func withhold(err error, secrets []ledger.Value) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	for _, v := range secrets {
		text := strings.Trim(string(v), `"`)
		if text == "" || !strings.Contains(err.Error(), text) {
			continue
		}
		const why = "the sink's error message repeats the secret, so it is not shown here"
		var refused *RefusedError
		if errors.As(err, &refused) {
			return &RefusedError{Reason: why, Other: refused.Other}
		}
		return errors.New(why)
	}
	return err
}
