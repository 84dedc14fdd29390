package secretsmanager

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/awssdk"
	"github.com/stelehq/stele/internal/projector/internal/mark"
	"github.com/stelehq/stele/internal/projector/internal/naming"
)

// maxValue is how many bytes a secret has at most.
const maxValue = 65536

// intent is what a write comes to.
type intent struct {
	projector.Write
	name    string
	text    string
	version version
}

func intend(l naming.Layout, epoch ledger.Epoch, w projector.Write) (intent, error) {
	in := intent{Write: w, version: version{epoch: epoch, revision: w.Revision}}
	var err error
	if in.name, err = nameOf(l, w.Tenant, w.Key); err != nil || w.Deleted() {
		return in, err
	}
	if in.text, in.version.text, err = mark.Text(w.Value); err != nil {
		return in, err
	}
	switch {
	case in.text == "":
		return in, projector.Refuse("the value is an empty string, which no secret can be: delete the key, or set it to null")
	case len(in.text) > maxValue:
		return in, projector.Refuse("the value has %d bytes, and a secret at most %d: make it smaller, or route the key to another sink", len(in.text), maxValue)
	}
	return in, nil
}

// key is the KMS key that the route names; nil for none.
func (in intent) key() *string {
	if in.Route == nil || in.Route.KMSKey == "" {
		return nil
	}
	return &in.Route.KMSKey
}

// Write brings the writes into effect one after the other.
func (s *Store) Write(ctx context.Context, writes []projector.Write) ([]error, error) {
	errs := make([]error, len(writes))
	for i, w := range writes {
		in, err := intend(s.layout, s.epoch, w)
		if err == nil {
			err = s.write(awssdk.As(ctx, w.Tenant), in)
		}
		if unanswered(err) {
			return nil, err
		}
		errs[i] = err
	}
	return errs, nil
}

// write reads the secret, and replaces it unless it is right already or newer.
func (s *Store) write(ctx context.Context, in intent) error {
	if err := s.writes.Wait(ctx); err != nil {
		return fmt.Errorf("write %s: %w", in.name, err)
	}
	item, found, err := s.get(ctx, in.name)
	if found == live && item.State != nil {
		err = nil // what cannot be a value is replaced
	}
	if err != nil {
		return err
	}
	if found == live && in.Replace == nil && item.Revision > in.Revision {
		return nil
	}
	s.cache.Forget(in.Tenant, in.name)
	switch {
	case in.Deleted() && found == live:
		return s.delete(ctx, in.name)
	case in.Deleted():
		return nil
	case found == missing:
		return s.create(ctx, in)
	case found == scheduled:
		if item, err = s.restore(ctx, in.name); err != nil {
			return err
		}
	}
	if err := s.setKMSKey(ctx, in); err != nil || s.Same(item, in.Write) {
		return err
	}
	return s.replace(ctx, in, item.State.(state).version)
}

func (s *Store) create(ctx context.Context, in intent) error {
	tags := s.tags.Of(in.Tenant)
	create := &sdk.CreateSecretInput{
		Name: &in.name, SecretString: &in.text, ClientRequestToken: aws.String(in.version.id()), KmsKeyId: in.key(),
		Description: aws.String(fmt.Sprintf("%s of %s, kept equal to a configuration ledger by Stele", in.Key, in.Tenant)),
	}
	for _, k := range s.tags.Keys() {
		create.Tags = append(create.Tags, types.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
	}
	_, err := s.client.CreateSecret(ctx, create)
	return explain("create "+in.name, err)
}

// restore takes a secret back that is scheduled for deletion, as it was.
func (s *Store) restore(ctx context.Context, name string) (projector.Item, error) {
	if _, err := s.client.RestoreSecret(ctx, &sdk.RestoreSecretInput{SecretId: &name}); err != nil {
		return projector.Item{}, explain("restore "+name, err)
	}
	item, found, err := s.get(ctx, name)
	if err == nil && found != live {
		err = fmt.Errorf("restore %s: %w", name, errChanged)
	}
	return item, err
}

// setKMSKey has the secret encrypted with the key that the route names.
func (s *Store) setKMSKey(ctx context.Context, in intent) error {
	if in.key() == nil {
		return nil
	}
	is, err := s.client.DescribeSecret(ctx, &sdk.DescribeSecretInput{SecretId: &in.name})
	if err == nil && aws.ToString(is.KmsKeyId) == *in.key() {
		return nil
	}
	if err == nil {
		_, err = s.client.UpdateSecret(ctx, &sdk.UpdateSecretInput{SecretId: &in.name, KmsKeyId: in.key()})
	}
	return explain("set the KMS key of "+in.name, err)
}

// replace makes a version, and then makes it current in the place of the one that was
// seen. If the first step alone was done, the next try finds its version, and does the
// second one.
func (s *Store) replace(ctx context.Context, in intent, seen string) error {
	id := in.version.id()
	put := &sdk.PutSecretValueInput{SecretId: &in.name, SecretString: &in.text, ClientRequestToken: &id, VersionStages: []string{written}}
	_, err := s.client.PutSecretValue(ctx, put)
	if _, other := errors.AsType[*types.ResourceExistsException](err); other { // of another value
		id = in.version.another()
		_, err = s.client.PutSecretValue(ctx, put)
	}
	if err != nil {
		return explain("write a version of "+in.name, err)
	}
	if id == seen {
		return nil
	}
	_, err = s.client.UpdateSecretVersionStage(ctx, &sdk.UpdateSecretVersionStageInput{
		SecretId: &in.name, VersionStage: aws.String(current), MoveToVersionId: &id, RemoveFromVersionId: &seen,
	})
	if _, moved := errors.AsType[*types.InvalidParameterException](err); moved {
		err = fmt.Errorf("%w (%w)", errChanged, err)
	}
	return explain("make a version of "+in.name+" current", err)
}

// delete schedules a secret for deletion.
func (s *Store) delete(ctx context.Context, name string) error {
	_, err := s.client.DeleteSecret(ctx, &sdk.DeleteSecretInput{SecretId: &name, RecoveryWindowInDays: &s.recovery})
	if f := findingOf(err); f == missing || f == scheduled {
		return nil
	}
	return explain("delete "+name, err)
}

// Remove looks whether the current version is the one that was seen, and schedules the
// secret for deletion. A change within the milliseconds between the two requests is
// deleted with it; it can be restored.
func (s *Store) Remove(ctx context.Context, seen projector.Item) error {
	was, ok := seen.State.(state)
	if !ok {
		return fmt.Errorf("remove %s: it was not read from this sink", seen.Name)
	}
	ctx = awssdk.As(ctx, seen.Tenant)
	s.cache.Forget(seen.Tenant, seen.Name)
	item, found, err := s.get(ctx, seen.Name)
	if now, ok := item.State.(state); err != nil || found != live || !ok || now != was {
		return err
	}
	return s.delete(ctx, seen.Name)
}
