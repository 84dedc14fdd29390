package fakeaws_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/appconfig"
	"github.com/aws/aws-sdk-go-v2/service/appconfig/types"
	"github.com/stelehq/stele/internal/projector/fakeaws"
)

// configuration is an application with an environment and a hosted profile.
type configuration struct {
	*appconfig.Client
	application, environment, profile *string
}

func configure(t *testing.T, server *fakeaws.Server) configuration {
	t.Helper()
	c := configuration{Client: appconfig.NewFromConfig(server.Config())}
	a, err := c.CreateApplication(t.Context(), &appconfig.CreateApplicationInput{Name: aws.String("app")})
	if err != nil {
		t.Fatal(err)
	}
	c.application = a.Id
	e, err := c.CreateEnvironment(t.Context(), &appconfig.CreateEnvironmentInput{ApplicationId: a.Id, Name: aws.String("env")})
	if err != nil {
		t.Fatal(err)
	}
	c.environment = e.Id
	p, err := c.CreateConfigurationProfile(t.Context(), &appconfig.CreateConfigurationProfileInput{ApplicationId: a.Id, Name: aws.String("profile"), LocationUri: aws.String("hosted")})
	if err != nil {
		t.Fatal(err)
	}
	c.profile = p.Id
	return c
}

func (c configuration) version(ctx context.Context, content string, change func(*appconfig.CreateHostedConfigurationVersionInput)) (string, error) {
	in := &appconfig.CreateHostedConfigurationVersionInput{ApplicationId: c.application, ConfigurationProfileId: c.profile, Content: []byte(content), ContentType: aws.String("application/json")}
	if change != nil {
		change(in)
	}
	out, err := c.CreateHostedConfigurationVersion(ctx, in)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d %s %s", out.VersionNumber, aws.ToString(out.ContentType), out.Content), nil
}

func (c configuration) start(ctx context.Context, version string, change func(*appconfig.StartDeploymentInput)) (string, error) {
	in := &appconfig.StartDeploymentInput{
		ApplicationId: c.application, EnvironmentId: c.environment, ConfigurationProfileId: c.profile,
		ConfigurationVersion: &version, DeploymentStrategyId: aws.String("AppConfig.AllAtOnce"),
	}
	if change != nil {
		change(in)
	}
	out, err := c.StartDeployment(ctx, in)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d %s", out.DeploymentNumber, out.State), nil
}

// https://docs.aws.amazon.com/appconfig/2019-10-09/APIReference/API_CreateHostedConfigurationVersion.html
// https://docs.aws.amazon.com/appconfig/2019-10-09/APIReference/API_StartDeployment.html
func TestAppConfig_AsDocumented(t *testing.T) {
	server, err := fakeaws.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	c := configure(t, server)
	latest := func(n int32) func(*appconfig.CreateHostedConfigurationVersionInput) {
		return func(in *appconfig.CreateHostedConfigurationVersionInput) { in.LatestVersionNumber = &n }
	}
	after := func(n int32) func(*appconfig.StartDeploymentInput) {
		return func(in *appconfig.StartDeploymentInput) { in.LatestDeploymentNumber = &n }
	}
	baking := func(on bool) { server.SetFaults(fakeaws.Faults{Baking: on}) }
	for _, s := range []step{
		{what: "the first version", do: func(ctx context.Context) (string, error) { return c.version(ctx, `{"a":1}`, nil) }, want: `1 application/json {"a":1}`},
		{what: "based on the newest", do: func(ctx context.Context) (string, error) { return c.version(ctx, `{"a":2}`, latest(1)) }, want: `2 application/json {"a":2}`},
		{what: "based on an older one", do: func(ctx context.Context) (string, error) { return c.version(ctx, `{}`, latest(1)) }, want: "ConflictException"},
		{what: "too large", do: func(ctx context.Context) (string, error) { return c.version(ctx, strings.Repeat("x", 1<<20+1), nil) }, want: "PayloadTooLargeException"},
		{what: "a description that is not ASCII", do: func(ctx context.Context) (string, error) {
			return c.version(ctx, `{}`, func(in *appconfig.CreateHostedConfigurationVersionInput) { in.Description = aws.String("größe") })
		}, want: "BadRequestException"},
		{what: "a profile that does not exist", do: func(ctx context.Context) (string, error) {
			return c.version(ctx, `{}`, func(in *appconfig.CreateHostedConfigurationVersionInput) {
				in.ConfigurationProfileId = aws.String("zzzz")
			})
		}, want: "ResourceNotFoundException"},
		{what: "a deployment", do: func(ctx context.Context) (string, error) { return c.start(ctx, "1", nil) }, want: "1 COMPLETE"},
		{what: "of a version that does not exist", do: func(ctx context.Context) (string, error) { return c.start(ctx, "9", nil) }, want: "ResourceNotFoundException"},
		{what: "with an unknown strategy", do: func(ctx context.Context) (string, error) {
			return c.start(ctx, "1", func(in *appconfig.StartDeploymentInput) { in.DeploymentStrategyId = aws.String("zzzz") })
		}, want: "ResourceNotFoundException"},
		{what: "after an older deployment", do: func(ctx context.Context) (string, error) { return c.start(ctx, "2", after(0)) }, want: "ConflictException"},
		{what: "one that bakes", do: func(ctx context.Context) (string, error) { baking(true); return c.start(ctx, "2", after(1)) }, want: "2 BAKING"},
		{what: "another meanwhile", do: func(ctx context.Context) (string, error) { return c.start(ctx, "1", nil) }, want: "ConflictException"},
		{what: "another afterwards", do: func(ctx context.Context) (string, error) { baking(false); return c.start(ctx, "1", nil) }, want: "3 COMPLETE"},
		{what: "the newest deployment first", do: func(ctx context.Context) (string, error) {
			out, err := c.ListDeployments(ctx, &appconfig.ListDeploymentsInput{ApplicationId: c.application, EnvironmentId: c.environment})
			if err != nil {
				return "", err
			}
			text := ""
			for _, d := range out.Items {
				text += fmt.Sprintf("%d of version %s %s; ", d.DeploymentNumber, aws.ToString(d.ConfigurationVersion), d.State)
			}
			return text, nil
		}, want: "3 of version 1 COMPLETE; 2 of version 2 COMPLETE; 1 of version 1 COMPLETE; "},
		{what: "a version", do: func(ctx context.Context) (string, error) {
			out, err := c.GetHostedConfigurationVersion(ctx, &appconfig.GetHostedConfigurationVersionInput{ApplicationId: c.application, ConfigurationProfileId: c.profile, VersionNumber: aws.Int32(2)})
			if err != nil {
				return "", err
			}
			return string(out.Content), nil
		}, want: `{"a":2}`},
	} {
		got, err := s.do(t.Context())
		if err != nil {
			got = outcome(err)
		}
		if got != s.want {
			t.Errorf("%s: %s, want %s (%v)", s.what, got, s.want, err)
		}
	}
}

// Pages have up to 50 items, and a profile 100 versions.
func TestAppConfig_Quotas(t *testing.T) {
	server, err := fakeaws.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	c := configure(t, server)
	for range 100 {
		if _, err := c.version(t.Context(), `{}`, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.version(t.Context(), `{}`, nil); err == nil || outcome(err) != "ServiceQuotaExceededException" {
		t.Errorf("the 101st version: %v", err)
	}
	pages := appconfig.NewListHostedConfigurationVersionsPaginator(c, &appconfig.ListHostedConfigurationVersionsInput{ApplicationId: c.application, ConfigurationProfileId: c.profile})
	var all []types.HostedConfigurationVersionSummary
	n := 0
	for ; pages.HasMorePages(); n++ {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Items...)
	}
	if n != 2 || len(all) != 100 || all[99].VersionNumber != 100 {
		t.Errorf("%d pages with %d versions", n, len(all))
	}
	if _, err := c.DeleteHostedConfigurationVersion(t.Context(), &appconfig.DeleteHostedConfigurationVersionInput{ApplicationId: c.application, ConfigurationProfileId: c.profile, VersionNumber: aws.Int32(1)}); err != nil {
		t.Fatal(err)
	}
	if got, err := c.version(t.Context(), `{}`, nil); err != nil || !strings.HasPrefix(got, "101 ") {
		t.Errorf("a version after a deletion: %s, %v", got, err)
	}
}
