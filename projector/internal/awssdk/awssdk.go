// Package awssdk is the common code of the sinks on AWS: how they find their account,
// and what its errors mean to a projector.
package awssdk

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

// Account is the location of a service; a sink embeds it in its settings. The zero
// Account uses the environment and the shared configuration, as any AWS SDK program.
type Account struct {
	Region string `json:"region,omitzero"`
	// Endpoint replaces the service's address, e.g. for DynamoDB local.
	Endpoint string `json:"endpoint,omitzero"`
}

// Load reads credentials and region.
func (a Account) Load(ctx context.Context) (aws.Config, error) {
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
