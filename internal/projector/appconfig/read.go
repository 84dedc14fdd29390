package appconfig

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/appconfig"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/awssdk"
	"github.com/stelehq/stele/internal/projector/internal/document"
)

// deployed is the configuration in effect of some resources.
type deployed struct {
	document document.Document
	// version is the deployed version, and deployment the number of the environment's
	// newest deployment; 0 for none.
	version, deployment int32
	// busy describes a deployment that has not finished; empty for none.
	busy string
}

// state is an item's State: the setting that was seen.
type state document.Setting

// deployed reads what is in effect. A version that is not a document, because another
// writer put it there, has no settings: the next write replaces it.
func (s *Store) deployed(ctx context.Context, t ledger.Tenant, p resources) (d deployed, err error) {
	pages := appconfig.NewListDeploymentsPaginator(s.client, &appconfig.ListDeploymentsInput{ApplicationId: &p.application, EnvironmentId: &p.environment})
	for pages.HasMorePages() && d.version == 0 { // the newest first
		page, err := pages.NextPage(ctx)
		if err != nil {
			return d, s.explain(t, "list the deployments of "+s.layout.Container(t), err)
		}
		for _, is := range page.Items {
			if is.DeploymentNumber > d.deployment {
				d.deployment = is.DeploymentNumber
			}
			if running(is.State) {
				d.busy = fmt.Sprintf("deployment %d of the environment %s in %s is %s", is.DeploymentNumber, s.set.Environment, s.layout.Container(t), is.State)
			}
			if aws.ToString(is.ConfigurationProfileId) != p.profile || !inEffect(is.State) || d.version != 0 {
				continue
			}
			n, err := strconv.ParseInt(aws.ToString(is.ConfigurationVersion), 10, 32)
			if err != nil {
				return d, fmt.Errorf("%w: deployment %d of %s has the version %q", errUnusable, is.DeploymentNumber, s.layout.Container(t), aws.ToString(is.ConfigurationVersion))
			}
			d.version = int32(n)
		}
	}
	if d.version == 0 {
		return d, nil
	}
	if is := s.known(t); is.resources == p && is.version == d.version {
		d.document = is.document
		return d, nil
	}
	content, err := s.content(ctx, t, p, d.version)
	if err != nil && !errors.Is(err, errMissing) {
		return d, err
	}
	if d.document, err = document.Parse(content, s.epoch); err != nil {
		s.log.Warn("a deployed configuration cannot be read, and counts as empty", "application", s.layout.Container(t), "version", d.version, "error", err)
	}
	s.remember(t, tenant{p, d.version, d.document})
	return d, nil
}

// content reads a version; the error is errMissing if it was deleted.
func (s *Store) content(ctx context.Context, t ledger.Tenant, p resources, version int32) ([]byte, error) {
	out, err := s.client.GetHostedConfigurationVersion(ctx, &appconfig.GetHostedConfigurationVersionInput{
		ApplicationId: &p.application, ConfigurationProfileId: &p.profile, VersionNumber: &version,
	})
	if err != nil {
		return nil, s.explain(t, fmt.Sprintf("read version %d of %s", version, s.layout.Container(t)), err)
	}
	return out.Content, nil
}

// current is what is in effect for a tenant; nothing while its resources do not exist.
func (s *Store) current(ctx context.Context, t ledger.Tenant) (p resources, d deployed, err error) {
	if p, err = s.find(ctx, t); err == nil && p.complete() {
		d, err = s.deployed(ctx, t, p)
	}
	return p, d, err
}

func (s *Store) itemOf(t ledger.Tenant, member string, is document.Setting) projector.Item {
	return projector.Item{
		Tenant: t, Key: s.layout.Key(member), Name: s.layout.Item(t, member), Revision: is.Revision, Value: is.Value, State: state(is),
	}
}

// Same compares revision and value.
func (s *Store) Same(item projector.Item, w projector.Write) bool {
	_, ok := item.State.(state)
	return ok && !w.Deleted() && item.Revision == w.Revision && item.Value.Equal(w.Value)
}

// Read reads the tenant's document.
func (s *Store) Read(ctx context.Context, name string) (projector.Item, bool, error) {
	t, member, ok := s.layout.Parse(name)
	if !ok {
		return projector.Item{}, false, projector.Refuse("%q is not an item of this sink: its names are like %s", name, s.layout.Item("TENANT", "KEY"))
	}
	absent := projector.Item{Tenant: t, Key: s.layout.Key(member), Name: name}
	_, d, err := s.current(awssdk.As(ctx, t), t)
	if err != nil {
		return absent, false, err
	}
	is, there := d.document[member]
	if !there {
		return absent, false, nil
	}
	return s.itemOf(t, member, is), true, nil
}

// Scan yields the members of the tenant's document.
func (s *Store) Scan(ctx context.Context, t ledger.Tenant, yield func(projector.Item) error) error {
	if err := s.reads.Wait(ctx); err != nil {
		return fmt.Errorf("scan %s: %w", t, err)
	}
	_, d, err := s.current(awssdk.As(ctx, t), t)
	if err != nil {
		return err
	}
	for _, member := range slices.Sorted(maps.Keys(d.document)) {
		if err := yield(s.itemOf(t, member, d.document[member])); err != nil {
			return err
		}
	}
	return nil
}
