// Package awssdk is what the sinks on AWS share: how they find their account, and
// what its errors mean to a projector.
package awssdk

import (
	"context"
	"fmt"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/stelehq/stele/projector"
)

// Account says where a service is; a sink embeds it in its settings. The zero
// Account is what the environment and the shared configuration say, as for any
// program on AWS.
type Account struct {
	Region string `json:"region,omitzero"`
	// Endpoint replaces the service's address, e.g. for DynamoDB local.
	Endpoint string `json:"endpoint,omitzero"`
}

// region is what a name of a region may be: it becomes part of a host name.
var region = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

// Load reads credentials and region. An endpoint that the process does not allow is an
// error.
func (a Account) Load(ctx context.Context, s projector.Settings) (aws.Config, error) {
	if err := s.Endpoint(a.Endpoint); err != nil {
		return aws.Config{}, err
	}
	if a.Region != "" && !region.MatchString(a.Region) {
		return aws.Config{}, fmt.Errorf("settings of sink %s: %q is no AWS region: use a name such as eu-central-1", s.Name, a.Region)
	}
	var options []func(*config.LoadOptions) error
	if a.Region != "" {
		options = append(options, config.WithRegion(a.Region))
	}
	if a.Endpoint != "" {
		options = append(options, config.WithBaseEndpoint(a.Endpoint))
	}
	c, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return c, fmt.Errorf("load the AWS configuration: %w", err)
	}
	if c.Region == "" {
		return c, fmt.Errorf("AWS has no region: set \"region\" in the sink's settings, or AWS_REGION")
	}
	return c, nil
}
