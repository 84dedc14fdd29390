// Package awssdk is what the sinks on AWS share: how they find their account and whose
// credentials they use, the tags that they write, and what AWS's errors mean to a
// projector.
package awssdk

import (
	"context"
	"fmt"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stelehq/stele/internal/projector"
)

// Account says where a service is and with which credentials it is called; a sink
// embeds it in its settings. The zero Account is what the environment and the shared
// configuration say, as for any program on AWS.
type Account struct {
	Region string `json:"region,omitzero"`
	// Endpoint replaces the service's address, e.g. for DynamoDB local.
	Endpoint string `json:"endpoint,omitzero"`
	// RoleARN is a role to assume for this sink, also of another account. With "{tenant}"
	// in it, it names a role for each tenant.
	RoleARN string `json:"role_arn,omitzero"`
	// ExternalID is what the role's trust policy may ask for.
	ExternalID string `json:"external_id,omitzero"`
	// TenantSessions has one session of the role for each tenant, with the session tag
	// "tenant". Policies compare it as aws:PrincipalTag/tenant.
	TenantSessions bool `json:"tenant_sessions,omitzero"`
}

// region is what a name of a region may be: it becomes part of a host name.
var region = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

// Load reads credentials and region. An endpoint or role that the process does not allow
// is an error.
func (a Account) Load(ctx context.Context, s projector.Settings) (aws.Config, error) {
	if err := a.Check(); err != nil {
		return aws.Config{}, fmt.Errorf("settings of sink %s: %w", s.Name, err)
	}
	if err := s.Endpoint(a.Endpoint); err != nil {
		return aws.Config{}, err
	}
	if err := s.Role(a.RoleARN); err != nil {
		return aws.Config{}, err
	}
	var options []func(*config.LoadOptions) error
	if a.Region != "" {
		options = append(options, config.WithRegion(a.Region))
	}
	c, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return c, fmt.Errorf("load the AWS configuration: %w", err)
	}
	if b, ok := c.HTTPClient.(*awshttp.BuildableClient); ok {
		c.HTTPClient = HTTPClient(b.GetTransport())
	}
	if c.Region == "" {
		return c, fmt.Errorf("AWS has no region: set \"region\" in the sink's settings, or AWS_REGION")
	}
	if a.RoleARN != "" {
		c.Credentials = &sessions{client: sts.NewFromConfig(c), base: c.Credentials, account: a}
	}
	if a.Endpoint != "" {
		c.BaseEndpoint = &a.Endpoint
		c.ConfigSources = append([]any{endpoint(a.Endpoint)}, c.ConfigSources...)
	}
	return c, nil
}

// endpoint is a source of configuration for the SDK, whose clients prefer
// AWS_ENDPOINT_URL_<SERVICE> from another source to the BaseEndpoint.
type endpoint string

func (e endpoint) GetServiceBaseEndpoint(context.Context, string) (string, bool, error) {
	return string(e), true, nil
}

// PerTenant reports whether each tenant has credentials of its own, so that no request
// may concern two of them.
func (a Account) PerTenant() bool { return a.TenantSessions || a.roleOf("") != a.RoleARN }

// Check checks what needs no call, and not the process's permission.
func (a Account) Check() error {
	switch {
	case a.Region != "" && !region.MatchString(a.Region):
		return fmt.Errorf("region is %q: use a name such as eu-central-1", a.Region)
	case a.RoleARN == "" && (a.ExternalID != "" || a.TenantSessions):
		return fmt.Errorf("external_id and tenant_sessions require role_arn")
	case a.RoleARN != "" && !arn.IsARN(a.RoleARN):
		return fmt.Errorf("role_arn is %q: it is like arn:aws:iam::123456789012:role/NAME", a.RoleARN)
	case a.Endpoint != "":
		return projector.CheckEndpoint(a.Endpoint)
	}
	return nil
}
