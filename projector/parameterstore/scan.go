package parameterstore

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/projector"
)

// Scan reads all descriptions of the tenant's parameters, and then their values by
// ten. What has changed between the two it reads by itself.
func (s *Store) Scan(ctx context.Context, t ledger.Tenant, yield func(projector.Item) error) error {
	base := s.layout.base(t)
	if s.layout.check(base+"k") != nil {
		return nil // it is AWS's own, and no key of the tenant's can be there
	}
	path := strings.TrimSuffix(base, "/")
	described, err := s.describe(ctx, types.ParameterStringFilter{Key: aws.String("Path"), Option: aws.String("Recursive"), Values: []string{path}})
	if err != nil {
		return fmt.Errorf("scan %s: %w", t, err)
	}
	pages := ssm.NewGetParametersByPathPaginator(s.client, &ssm.GetParametersByPathInput{Path: &path, Recursive: aws.Bool(true), WithDecryption: aws.Bool(true)})
	for pages.HasMorePages() {
		if err := s.reads.Wait(ctx); err != nil {
			return fmt.Errorf("scan %s: %w", t, err)
		}
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("scan %s: %w", t, explain("read "+path, err))
		}
		for _, p := range page.Parameters {
			item, ok := projector.Item{}, true
			if m := described[aws.ToString(p.Name)]; m.Version == p.Version {
				item = s.item(p, m)
			} else if item, ok, err = s.Read(ctx, aws.ToString(p.Name)); err != nil {
				return fmt.Errorf("scan %s: %w", t, err)
			}
			if !ok {
				continue
			}
			if err := yield(item); err != nil {
				return err
			}
		}
	}
	return nil
}
