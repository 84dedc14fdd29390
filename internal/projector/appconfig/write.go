package appconfig

import (
	"bytes"
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
	"github.com/stelehq/stele/internal/projector/internal/naming"
)

// intend returns the member of a write, and a *projector.RefusedError for a write that no
// document has room for.
func intend(l naming.PerTenant, maxBytes int, w projector.Write) (member string, err error) {
	if member, err = memberOf(l, w.Tenant, w.Key); err != nil || w.Deleted() {
		return member, err
	}
	return member, document.Alone(member, w.Value, maxBytes)
}

// Write deploys a document with the writes of one tenant.
func (s *Store) Write(ctx context.Context, writes []projector.Write) ([]error, error) {
	t := writes[0].Tenant
	ctx = awssdk.As(ctx, t)
	p, now, err := s.current(ctx, t)
	if err != nil {
		return fail(make([]error, len(writes)), err)
	}
	next, errs, pending := now.document.Apply(writes, func(w projector.Write) (string, error) { return intend(s.layout, s.set.MaxBytes, w) }, func(size int) error {
		if size <= s.set.MaxBytes {
			return nil
		}
		return projector.Refuse("the document of %s would have %d bytes with it, and the limit is %d: shorten values, route fewer keys to the sink, or raise max_bytes with the account's quota", t, size, s.set.MaxBytes)
	})
	if len(pending) == 0 {
		return errs, nil
	}
	if err := s.deploy(ctx, t, p, now, next, newest(writes, pending)); err != nil {
		return fail(errs, err, pending...)
	}
	return errs, nil
}

// fail fails some of the writes of a call, all without some, or the call itself.
func fail(errs []error, err error, some ...int) ([]error, error) {
	if unanswered(err) {
		return nil, err
	}
	if some == nil {
		for i := range errs {
			errs[i] = err
		}
	}
	for _, i := range some {
		errs[i] = err
	}
	return errs, nil
}

// newest describes a version by the newest revision that it has. AppConfig allows only
// ASCII here.
func newest(writes []projector.Write, pending []int) string {
	w := writes[pending[0]]
	for _, i := range pending {
		if writes[i].Revision > w.Revision {
			w = writes[i]
		}
	}
	return fmt.Sprintf("%s%s", w.Tenant, w.Revision)
}

// deploy makes a document the deployed one, if what was read is still in effect.
func (s *Store) deploy(ctx context.Context, t ledger.Tenant, p resources, now deployed, next document.Document, description string) (err error) {
	if now.busy != "" {
		return fmt.Errorf("%s: %w", now.busy, errBusy)
	}
	if !p.complete() {
		if p, err = s.create(ctx, t, p); err != nil {
			return err
		}
	}
	versions, err := s.versions(ctx, t, p)
	if err != nil {
		return err
	}
	version, err := s.put(ctx, t, p, now, versions, next.Encode(s.epoch), description)
	if err != nil {
		return err
	}
	start := &appconfig.StartDeploymentInput{
		ApplicationId: &p.application, EnvironmentId: &p.environment, ConfigurationProfileId: &p.profile, DeploymentStrategyId: &s.set.Strategy,
		ConfigurationVersion: aws.String(strconv.Itoa(int(version))), Description: &description,
	}
	if now.deployment > 0 {
		start.LatestDeploymentNumber = &now.deployment
	}
	if _, err := s.client.StartDeployment(ctx, start); err != nil {
		return s.explain(t, fmt.Sprintf("deploy version %d of %s", version, s.layout.Container(t)), err)
	}
	s.remember(t, tenant{p, version, next})
	s.prune(ctx, t, p, versions, now.version, version)
	return nil
}

// versions are the numbers of all versions, in order.
func (s *Store) versions(ctx context.Context, t ledger.Tenant, p resources) (all []int32, err error) {
	pages := appconfig.NewListHostedConfigurationVersionsPaginator(s.client, &appconfig.ListHostedConfigurationVersionsInput{
		ApplicationId: &p.application, ConfigurationProfileId: &p.profile,
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, s.explain(t, "list the versions of "+s.layout.Container(t), err)
		}
		for _, v := range page.Items {
			all = append(all, v.VersionNumber)
		}
	}
	slices.Sort(all)
	return all, nil
}

// put returns a version with the content: a new one, or the newest, if that has it and is
// not deployed. An attempt whose deployment failed has left that one.
func (s *Store) put(ctx context.Context, t ledger.Tenant, p resources, now deployed, versions []int32, content []byte, description string) (int32, error) {
	in := &appconfig.CreateHostedConfigurationVersionInput{
		ApplicationId: &p.application, ConfigurationProfileId: &p.profile, Content: content, ContentType: aws.String("application/json"), Description: &description,
	}
	if n := len(versions); n > 0 {
		latest := versions[n-1]
		in.LatestVersionNumber = &latest
		if latest > now.version {
			is, err := s.content(ctx, t, p, latest)
			switch {
			case err != nil && !errors.Is(err, errMissing):
				return 0, err
			case err == nil && bytes.Equal(is, content):
				return latest, nil
			}
		}
	}
	out, err := s.client.CreateHostedConfigurationVersion(ctx, in)
	if err != nil {
		return 0, s.explain(t, "create a version of "+s.layout.Container(t), err)
	}
	return out.VersionNumber, nil
}

// kept is how many versions a profile keeps. AppConfig allows 100.
const kept = 50

// prune deletes the oldest versions except those in use. That it cannot is a warning: the
// deployment has begun.
func (s *Store) prune(ctx context.Context, t ledger.Tenant, p resources, versions []int32, used ...int32) {
	var failed error
	for _, v := range versions[:max(0, len(versions)-kept)] {
		if slices.Contains(used, v) {
			continue
		}
		_, err := s.client.DeleteHostedConfigurationVersion(ctx, &appconfig.DeleteHostedConfigurationVersionInput{
			ApplicationId: &p.application, ConfigurationProfileId: &p.profile, VersionNumber: &v,
		})
		if err != nil {
			failed = explain(fmt.Sprintf("delete version %d of %s", v, s.layout.Container(t)), err)
			break
		}
	}
	if ctx.Err() == nil {
		s.warn(failed)
	}
}

// Remove deploys a document without the item, if it is still the one that was seen.
func (s *Store) Remove(ctx context.Context, seen projector.Item) error {
	was, ok := seen.State.(state)
	if !ok {
		return fmt.Errorf("remove %s: it was not read from this sink", seen.Name)
	}
	t, member, ok := s.layout.Parse(seen.Name)
	if !ok {
		return fmt.Errorf("remove %s: it is not an item of this sink", seen.Name)
	}
	ctx = awssdk.As(ctx, t)
	p, now, err := s.current(ctx, t)
	if err != nil {
		return err
	}
	if is, there := now.document[member]; !there || is != document.Setting(was) {
		return nil
	}
	next := maps.Clone(now.document)
	delete(next, member)
	return s.deploy(ctx, t, p, now, next, fmt.Sprintf("%s, an item removed", t))
}
