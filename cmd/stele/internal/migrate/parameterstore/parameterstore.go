// Package parameterstore reads parameters of AWS Systems Manager with their history:
// each version that AWS still has, the newest 100 of a parameter, is a step, with its
// time and author. Deleted parameters have no history.
package parameterstore

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/stelehq/stele/cmd/stele/internal/migrate"
)

// Source is the parameters below a path, as they were when it was opened.
type Source struct{ versions []types.ParameterHistory }

// attempts is how often a call is made: reads of histories are limited to a few a
// second.
const attempts = 20

// Open reads all parameters below the path. Account, region and credentials are
// what the environment and the shared configuration say, as for any program on AWS.
func Open(ctx context.Context, path string) (*Source, error) {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRetryer(func() aws.Retryer {
		return retry.NewAdaptiveMode(func(o *retry.AdaptiveModeOptions) {
			o.StandardOptions = append(o.StandardOptions, func(o *retry.StandardOptions) { o.MaxAttempts = attempts })
		})
	}))
	if err != nil {
		return nil, fmt.Errorf("load the AWS configuration: %w", err)
	}
	client := ssm.NewFromConfig(cfg)
	s := new(Source)
	pages := ssm.NewGetParametersByPathPaginator(client, &ssm.GetParametersByPathInput{Path: &path, Recursive: aws.Bool(true)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("read parameters below %s: %w", path, err)
		}
		for _, p := range page.Parameters {
			if err := s.history(ctx, client, p.Name); err != nil {
				return nil, fmt.Errorf("read the history of %s: %w", aws.ToString(p.Name), err)
			}
		}
	}
	slices.SortStableFunc(s.versions, func(a, b types.ParameterHistory) int {
		return cmp.Or(a.LastModifiedDate.Compare(*b.LastModifiedDate), cmp.Compare(*a.Name, *b.Name), cmp.Compare(a.Version, b.Version))
	})
	return s, nil
}

// history reads the versions of a parameter.
func (s *Source) history(ctx context.Context, client *ssm.Client, name *string) error {
	pages := ssm.NewGetParameterHistoryPaginator(client, &ssm.GetParameterHistoryInput{Name: name, WithDecryption: aws.Bool(true)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, v := range page.Parameters {
			if v.Name == nil || v.LastModifiedDate == nil {
				return fmt.Errorf("version %d has no name or time", v.Version)
			}
			s.versions = append(s.versions, v)
		}
	}
	return nil
}

// Name is the service's.
func (*Source) Name() string { return "parameterstore" }

// Steps yields each version of each parameter.
func (s *Source) Steps(context.Context) iter.Seq2[migrate.Step, error] {
	return func(yield func(migrate.Step, error) bool) {
		for _, v := range s.versions {
			step := migrate.Step{
				// A parameter that was deleted and made again begins at version 1 again.
				ID:      fmt.Sprintf("version %d of %s of %s", v.Version, *v.Name, v.LastModifiedDate.UTC().Format("2006-01-02T15:04:05.000Z")),
				Time:    v.LastModifiedDate.UTC(),
				Author:  aws.ToString(v.LastModifiedUser),
				Message: fmt.Sprintf("%s version %d", *v.Name, v.Version),
				Items:   []migrate.Item{{Name: *v.Name, Value: aws.ToString(v.Value), Secret: v.Type == types.ParameterTypeSecureString}},
			}
			if d := aws.ToString(v.Description); d != "" {
				step.Message += ": " + d
			}
			if !yield(step, nil) {
				return
			}
		}
	}
}
