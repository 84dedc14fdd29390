// Package userpool checks that the users of an Amazon Cognito user pool cannot write the
// attributes that decide what they may do.
package userpool

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
)

// issuer is that of Cognito's tokens: it names the region and the pool.
var issuer = regexp.MustCompile(`^https://cognito-idp\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/([\w-]{1,55})$`)

// IsIssuer reports whether tokens of the issuer are Cognito's.
func IsIssuer(iss string) bool { return issuer.MatchString(iss) }

// Check is the outcome of a check for users.
type Check struct {
	// Writable are the attributes that users can write themselves through the app client.
	Writable []string
	// Err is why they are not known.
	Err error
}

// Examine asks Cognito which of the attributes users can write, with the AWS credentials of the
// process. Only custom attributes can decide about permissions; others are ignored.
func Examine(ctx context.Context, iss, client string, attributes []string) Check {
	attributes = slices.DeleteFunc(slices.Clone(attributes), func(a string) bool { return !strings.HasPrefix(a, "custom:") })
	pool := issuer.FindStringSubmatch(iss)
	if pool == nil || len(attributes) == 0 {
		return Check{}
	}
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(pool[1]))
	if err != nil {
		return Check{Err: fmt.Errorf("find AWS credentials: %w", err)}
	}
	out, err := cognitoidentityprovider.NewFromConfig(cfg).DescribeUserPoolClient(ctx, &cognitoidentityprovider.DescribeUserPoolClientInput{UserPoolId: &pool[2], ClientId: &client})
	if err != nil {
		return Check{Err: err}
	}
	if len(out.UserPoolClient.WriteAttributes) == 0 { // it was created without a list
		return Check{Writable: attributes}
	}
	return Check{Writable: slices.DeleteFunc(attributes, func(a string) bool { return !slices.Contains(out.UserPoolClient.WriteAttributes, a) })}
}
