package parameterstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/awssdk"
	"github.com/stelehq/stele/internal/projector/internal/mark"
)

// state is an item's State.
type state struct {
	version  int64
	modified time.Time
	kind     types.ParameterType
	key      string
	advanced bool
}

// item is the content of a parameter and its metadata, of the same version.
func (s *Store) item(p types.Parameter, m types.ParameterMetadata) projector.Item {
	i := projector.Item{Name: aws.ToString(p.Name), State: state{
		version: p.Version, modified: aws.ToTime(p.LastModifiedDate),
		kind: p.Type, key: aws.ToString(m.KeyId), advanced: m.Tier == types.ParameterTierAdvanced,
	}}
	i.Secret = p.Type == types.ParameterTypeSecureString
	i.Tenant, i.Key, _ = s.layout.parse(i.Name)
	written, _ := mark.Parse(aws.ToString(m.Description))
	if written.Epoch == s.epoch {
		i.Revision = written.Revision
	}
	i.Value = mark.Value(aws.ToString(p.Value), written.IsString)
	return i
}

// look is the state of a name.
type look struct {
	item projector.Item
	ok   bool
	err  error
}

func (l look) known() known {
	if !l.ok {
		return known{}
	}
	st := l.item.State.(state)
	return known{revision: l.item.Revision, version: st.version, kind: st.kind, key: st.key, advanced: st.advanced}
}

// look reads parameters, at most as many as a batch. If one of them cannot be read, the
// others are read without it.
func (s *Store) look(ctx context.Context, names []string) (map[string]look, error) {
	if len(names) == 0 {
		return nil, nil
	}
	found, err := s.lookAll(ctx, names)
	switch {
	case err == nil:
		return found, nil
	case unanswered(err):
		return nil, err
	case len(names) == 1:
		return map[string]look{names[0]: {err: err}}, nil
	}
	found = make(map[string]look)
	for _, name := range names {
		one, err := s.look(ctx, []string{name})
		if err != nil {
			return nil, err
		}
		found[name] = one[name]
	}
	return found, nil
}

// looks is how often a parameter is read whose value and description are of
// different versions.
const looks = 3

func (s *Store) lookAll(ctx context.Context, names []string) (map[string]look, error) {
	found := make(map[string]look)
	pending := names
	for range looks {
		if len(pending) == 0 {
			return found, nil
		}
		values, err := s.values(ctx, pending, true)
		if err != nil {
			return nil, err
		}
		described, err := s.describe(ctx, types.ParameterStringFilter{Key: aws.String("Name"), Option: aws.String("Equals"), Values: slices.Sorted(maps.Keys(values))})
		if err != nil {
			return nil, err
		}
		pending = slices.DeleteFunc(slices.Clone(pending), func(name string) bool {
			p, ok := values[name]
			m := described[name]
			if ok && m.Version != p.Version {
				return false
			}
			found[name] = look{ok: ok}
			if ok {
				found[name] = look{item: s.item(p, m), ok: true}
			}
			return true
		})
	}
	for _, name := range pending { // DescribeParameters may be seconds behind
		found[name] = look{err: laterError(fmt.Sprintf("read %s: its description and its value are not of the same version yet", name))}
	}
	return found, nil
}

// values of parameters; one that is not there is not in it.
func (s *Store) values(ctx context.Context, names []string, decrypt bool) (map[string]types.Parameter, error) {
	if err := s.reads.Wait(ctx); err != nil {
		return nil, fmt.Errorf("read %s: %w", names[0], err)
	}
	out, err := s.client.GetParameters(ctx, &ssm.GetParametersInput{Names: names, WithDecryption: &decrypt})
	if err != nil {
		return nil, explain("read "+names[0], err)
	}
	found := make(map[string]types.Parameter)
	for _, p := range out.Parameters {
		found[aws.ToString(p.Name)] = p
	}
	return found, nil
}

// describe reads the metadata of the parameters that a filter selects.
func (s *Store) describe(ctx context.Context, f types.ParameterStringFilter) (map[string]types.ParameterMetadata, error) {
	found := make(map[string]types.ParameterMetadata)
	if len(f.Values) == 0 {
		return found, nil
	}
	pages := ssm.NewDescribeParametersPaginator(s.client, &ssm.DescribeParametersInput{ParameterFilters: []types.ParameterStringFilter{f}, MaxResults: aws.Int32(50)})
	for pages.HasMorePages() {
		if err := s.reads.Wait(ctx); err != nil {
			return nil, fmt.Errorf("describe %s: %w", f.Values[0], err)
		}
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, explain("describe "+f.Values[0], err)
		}
		for _, m := range page.Parameters {
			found[aws.ToString(m.Name)] = m
		}
	}
	return found, nil
}

// Read makes two requests.
func (s *Store) Read(ctx context.Context, name string) (projector.Item, bool, error) {
	t, key, ok := s.layout.parse(name)
	if !ok {
		return projector.Item{}, false, projector.Refuse("%q is not a parameter of this sink: its names are like %sKEY", name, s.layout.base("TENANT"))
	}
	found, err := s.look(awssdk.As(ctx, t), []string{name})
	if err != nil {
		return projector.Item{}, false, err
	}
	is := found[name]
	if !is.ok {
		is.item = projector.Item{Tenant: t, Key: key, Name: name}
	}
	return is.item, is.ok, is.err
}

// Same compares revision, value, type, the KMS key where the route names one, and the
// tier where it has to be the advanced one.
func (s *Store) Same(item projector.Item, w projector.Write) bool {
	st, ok := item.State.(state)
	kind, key := kindOf(w)
	return ok && !w.Deleted() && item.Revision == w.Revision && item.Value.Equal(w.Value) && st.kind == kind &&
		(key == "" || st.key == key) && (s.tier != types.ParameterTierAdvanced || st.advanced)
}

// Remove looks whether the parameter is of the version that was seen, and deletes it.
// A change within the milliseconds between the two requests is deleted with it.
func (s *Store) Remove(ctx context.Context, seen projector.Item) error {
	was, ok := seen.State.(state)
	if !ok {
		return fmt.Errorf("remove %s: it was not read from this sink", seen.Name)
	}
	ctx = awssdk.As(ctx, seen.Tenant)
	if err := s.reads.Wait(ctx); err != nil {
		return fmt.Errorf("remove %s: %w", seen.Name, err)
	}
	now, err := s.client.GetParameter(ctx, &ssm.GetParameterInput{Name: &seen.Name})
	if _, gone := errors.AsType[*types.ParameterNotFound](err); gone {
		return nil
	}
	if err != nil {
		return explain("remove "+seen.Name, err)
	}
	if now.Parameter.Version != was.version || !aws.ToTime(now.Parameter.LastModifiedDate).Equal(was.modified) {
		return nil
	}
	s.forget(seen.Name)
	return s.delete(ctx, seen.Name)
}
