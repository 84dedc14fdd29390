package appconfig

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/appconfig"
	"github.com/aws/aws-sdk-go-v2/service/appconfig/types"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector/internal/document"
)

// resources are the IDs of a tenant's resources in AppConfig. An ID is empty while the
// resource does not exist.
type resources struct{ application, environment, profile string }

func (p resources) complete() bool {
	return p.application != "" && p.environment != "" && p.profile != ""
}

// tenant is what is known of a tenant: its resources, and the document of one
// version. Versions never change.
type tenant struct {
	resources resources
	version   int32
	document  document.Document
}

func (s *Store) known(t ledger.Tenant) tenant {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tenants[t]
}

func (s *Store) remember(t ledger.Tenant, is tenant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tenants[t] = is
}

// forget drops what is known of a tenant: something of it does not exist any more.
func (s *Store) forget(t ledger.Tenant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tenants, t)
}

// find looks up a tenant's resources by their names.
func (s *Store) find(ctx context.Context, t ledger.Tenant) (p resources, err error) {
	if is := s.known(t); is.resources.complete() {
		return is.resources, nil
	}
	name := s.layout.Container(t)
	apps := appconfig.NewListApplicationsPaginator(s.client, &appconfig.ListApplicationsInput{})
	for apps.HasMorePages() {
		page, err := apps.NextPage(ctx)
		if err != nil {
			return p, explain("list applications", err)
		}
		for _, a := range page.Items {
			if err := one("applications", name, aws.ToString(a.Name), aws.ToString(a.Id), &p.application); err != nil {
				return p, err
			}
		}
	}
	if p.application == "" {
		return p, nil
	}
	envs := appconfig.NewListEnvironmentsPaginator(s.client, &appconfig.ListEnvironmentsInput{ApplicationId: &p.application})
	for envs.HasMorePages() {
		page, err := envs.NextPage(ctx)
		if err != nil {
			return p, explain("list the environments of "+name, err)
		}
		for _, e := range page.Items {
			if err := one("environments of "+name, s.set.Environment, aws.ToString(e.Name), aws.ToString(e.Id), &p.environment); err != nil {
				return p, err
			}
		}
	}
	profiles := appconfig.NewListConfigurationProfilesPaginator(s.client, &appconfig.ListConfigurationProfilesInput{ApplicationId: &p.application})
	for profiles.HasMorePages() {
		page, err := profiles.NextPage(ctx)
		if err != nil {
			return p, explain("list the configuration profiles of "+name, err)
		}
		for _, is := range page.Items {
			if err := one("configuration profiles of "+name, s.set.Profile, aws.ToString(is.Name), aws.ToString(is.Id), &p.profile); err != nil {
				return p, err
			}
			if aws.ToString(is.Id) == p.profile && (aws.ToString(is.LocationUri) != hosted || aws.ToString(is.Type) != freeform) {
				return p, fmt.Errorf("%w: the configuration profile %s of %s is not hosted by AppConfig, or not freeform: rename it, or set another \"profile\" in the sink's settings", errUnusable, s.set.Profile, name)
			}
		}
	}
	if p.complete() {
		s.remember(t, tenant{resources: p})
	}
	return p, nil
}

// one sets an ID if the name is the wanted one. AppConfig lets two have the same name.
func one(what, wanted, name, id string, to *string) error {
	if name != wanted {
		return nil
	}
	if *to != "" {
		return fmt.Errorf("%w: two %s have the name %s, with the IDs %s and %s: delete or rename one", errUnusable, what, name, *to, id)
	}
	*to = id
	return nil
}

const (
	hosted   = "hosted"
	freeform = "AWS.Freeform"
)

// create creates the resources that do not exist.
func (s *Store) create(ctx context.Context, t ledger.Tenant, p resources) (resources, error) {
	name, tags := s.layout.Container(t), s.set.Tags.Of(t)
	description := aws.String(strings.TrimSpace("written by stele for the tenant " + string(t)))
	if p.application == "" {
		out, err := s.client.CreateApplication(ctx, &appconfig.CreateApplicationInput{Name: &name, Description: description, Tags: tags})
		if err != nil {
			return p, explain("create the application "+name, err)
		}
		p.application = aws.ToString(out.Id)
	}
	if p.environment == "" {
		out, err := s.client.CreateEnvironment(ctx, &appconfig.CreateEnvironmentInput{ApplicationId: &p.application, Name: &s.set.Environment, Description: description, Tags: tags})
		if err != nil {
			return p, explain("create the environment "+s.set.Environment+" of "+name, err)
		}
		p.environment = aws.ToString(out.Id)
	}
	if p.profile == "" {
		out, err := s.client.CreateConfigurationProfile(ctx, &appconfig.CreateConfigurationProfileInput{
			ApplicationId: &p.application, Name: &s.set.Profile, Description: description, LocationUri: aws.String(hosted), Type: aws.String(freeform), Tags: tags,
		})
		if err != nil {
			return p, explain("create the configuration profile "+s.set.Profile+" of "+name, err)
		}
		p.profile = aws.ToString(out.Id)
	}
	s.remember(t, tenant{resources: p})
	return p, nil
}

// inEffect reports whether a deployment in a state determines what targets get.
func inEffect(state types.DeploymentState) bool {
	switch state {
	case types.DeploymentStateRollingBack, types.DeploymentStateRolledBack, types.DeploymentStateReverted:
		return false
	}
	return true
}

// running reports whether a deployment in a state keeps the next one from beginning.
func running(state types.DeploymentState) bool {
	switch state {
	case types.DeploymentStateValidating, types.DeploymentStateDeploying, types.DeploymentStateBaking, types.DeploymentStateRollingBack:
		return true
	}
	return false
}
