package secretsmanager

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/awssdk"
	"github.com/stelehq/stele/internal/projector/internal/mark"
)

// current and written are staging labels: AWS's for the version that programs read, and
// the sink's for the newest one that it has made.
const (
	current = "AWSCURRENT"
	written = "stele"
)

// state is an item's State.
type state struct {
	version string // the current one's ID
}

// get reads a secret's current version.
func (s *Store) get(ctx context.Context, name string) (item projector.Item, found finding, err error) {
	out, err := s.client.GetSecretValue(ctx, &sdk.GetSecretValueInput{SecretId: &name})
	if found = findingOf(err); found != failed {
		err = nil
	}
	if err != nil || found != live {
		return projector.Item{}, found, explain("read "+name, err)
	}
	id := aws.ToString(out.VersionId)
	v, ours := parseVersion(id)
	item = projector.Item{Name: name, Secret: true, State: state{version: id}}
	item.Tenant, item.Key, _ = s.layout.Parse(name)
	if out.SecretString == nil {
		return item, live, fmt.Errorf("read %s: its current version is binary, and no value: set the secret to text, or delete it", name)
	}
	item.Value = mark.Value(*out.SecretString, ours && v.text)
	if ours && v.epoch == s.epoch {
		item.Revision = v.revision
	}
	return item, live, nil
}

// Same compares revision and value. A secret's KMS key is not compared: it is brought
// right when the key is written.
func (s *Store) Same(item projector.Item, w projector.Write) bool {
	_, ok := item.State.(state)
	return ok && !w.Deleted() && item.Revision == w.Revision && item.Value.Equal(w.Value)
}

// Read makes one request.
func (s *Store) Read(ctx context.Context, name string) (projector.Item, bool, error) {
	t, key, ok := s.layout.Parse(name)
	if !ok {
		return projector.Item{}, false, projector.Refuse("%q is not a secret of this sink: its names are like %sKEY", name, s.layout.Base("TENANT"))
	}
	item, found, err := s.get(awssdk.As(ctx, t), name)
	if err == nil && found != live {
		item = projector.Item{Tenant: t, Key: key, Name: name}
	}
	return item, found == live, err
}

// Scan lists the tenant's secrets, and reads those that have changed since they were read
// last. AWS may list a change only after some minutes.
func (s *Store) Scan(ctx context.Context, t ledger.Tenant, yield func(projector.Item) error) error {
	ctx = awssdk.As(ctx, t)
	base := s.layout.Base(t)
	listed := make(map[string]bool)
	pages := sdk.NewListSecretsPaginator(s.client, &sdk.ListSecretsInput{
		Filters: []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{base}}}, MaxResults: aws.Int32(100),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return explain("list the secrets of "+string(t), err)
		}
		for _, entry := range page.SecretList {
			name := aws.ToString(entry.Name)
			if of, _, ok := s.layout.Parse(name); !ok || of != t { // the filter's case does not count
				continue
			}
			listed[name] = true
			item, there, err := s.listed(ctx, t, entry)
			if ctx.Err() != nil || unanswered(err) {
				return fmt.Errorf("scan %s: %w", t, err)
			}
			if err != nil {
				item, there = projector.Item{Name: name, Err: err}, true
				item.Tenant, item.Key, _ = s.layout.Parse(name)
			}
			if !there {
				continue
			}
			if err := yield(item); err != nil {
				return err
			}
		}
	}
	s.cache.Keep(t, listed)
	return nil
}

// listed returns a secret that a listing has.
func (s *Store) listed(ctx context.Context, t ledger.Tenant, entry types.SecretListEntry) (projector.Item, bool, error) {
	name, stamp := aws.ToString(entry.Name), strconv.FormatInt(aws.ToTime(entry.LastChangedDate).UnixNano(), 10)
	for id, stages := range entry.SecretVersionsToStages {
		if slices.Contains(stages, current) {
			stamp += id
		}
	}
	if item, ok := s.cache.Get(t, name, stamp); ok {
		return item, true, nil
	}
	if err := s.reads.Wait(ctx); err != nil {
		return projector.Item{}, false, fmt.Errorf("read %s: %w", name, err)
	}
	item, found, err := s.get(ctx, name)
	if err == nil && found == live {
		s.cache.Add(item, stamp)
	}
	return item, found == live, err
}
