package parameterstore

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/awssdk"
)

// Scan reads all descriptions of the tenant's parameters, and then their values by ten.
// Parameters that have changed between the two are read singly, and so are the
// parameters of a page that cannot be read as a whole, e.g. because KMS does not
// decrypt one of them.
func (s *Store) Scan(ctx context.Context, t ledger.Tenant, yield func(projector.Item) error) error {
	ctx = awssdk.As(ctx, t)
	base := s.layout.base(t)
	if s.layout.check(base+"k") != nil {
		return nil // it is AWS's own, and no key of the tenant's can be there
	}
	path := strings.TrimSuffix(base, "/")
	described, err := s.describe(ctx, types.ParameterStringFilter{Key: aws.String("Path"), Option: aws.String("Recursive"), Values: []string{path}})
	if err != nil {
		return fmt.Errorf("scan %s: %w", t, err)
	}
	s.count(t, described)
	for token, more := (*string)(nil), true; more; {
		page, decrypted, err := s.page(ctx, path, token)
		if err != nil {
			return fmt.Errorf("scan %s: %w", t, err)
		}
		token, more = page.NextToken, aws.ToString(page.NextToken) != ""
		for _, p := range page.Parameters {
			name := aws.ToString(p.Name)
			if m := described[name]; m.Version == p.Version && (decrypted || p.Type != types.ParameterTypeSecureString) {
				if err := yield(s.item(p, m)); err != nil {
					return err
				}
				continue
			}
			item, ok, err := s.Read(ctx, name)
			switch {
			case ctx.Err() != nil || unanswered(err):
				return fmt.Errorf("scan %s: %w", t, err)
			case err != nil:
				item, ok = projector.Item{Name: name, Err: err}, true
				item.Tenant, item.Key, _ = s.layout.parse(name)
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

// page reads the next values below a path, decrypted unless that fails.
func (s *Store) page(ctx context.Context, path string, token *string) (page *ssm.GetParametersByPathOutput, decrypted bool, err error) {
	for _, decrypted = range []bool{true, false} {
		if err := s.reads.Wait(ctx); err != nil {
			return nil, false, err
		}
		page, err = s.client.GetParametersByPath(ctx, &ssm.GetParametersByPathInput{
			Path: &path, Recursive: aws.Bool(true), WithDecryption: aws.Bool(decrypted), NextToken: token,
		})
		if err == nil {
			return page, decrypted, nil
		}
		if err = explain("read "+path, err); unanswered(err) {
			return nil, false, err
		}
	}
	return nil, false, err
}

// count notes how many standard parameters the tenant has.
func (s *Store) count(t ledger.Tenant, described map[string]types.ParameterMetadata) {
	n := 0
	for _, m := range described {
		if m.Tier != types.ParameterTierAdvanced {
			n++
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.standard[t] = n
}
