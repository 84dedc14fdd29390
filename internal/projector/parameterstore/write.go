package parameterstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/awssdk"
	"github.com/stelehq/stele/internal/projector/internal/mark"
)

// known is the state of a parameter that this process has written or adopted. It is
// valid for later revisions; before a repeated revision the parameter is read, so that
// a replay makes no versions.
type known struct {
	revision ledger.Revision
	version  int64 // 0 if the parameter does not exist
	kind     types.ParameterType
	key      string // of KMS, for a SecureString
	advanced bool
}

// intent is what a write has to do.
type intent struct {
	projector.Write
	name string
	text string // empty for a deletion
	mark mark.Mark
	kind types.ParameterType
	key  string // of KMS, for a SecureString; empty: the one that it has
}

func (s *Store) intend(w projector.Write) (intent, error) {
	in := intent{Write: w, mark: mark.Mark{Epoch: s.epoch, Revision: w.Revision}}
	var err error
	if in.name, err = s.layout.name(w.Tenant, w.Key); err != nil || w.Deleted() {
		return in, err
	}
	in.kind, in.key = kindOf(w)
	in.text, in.mark.IsString, err = text(w.Value)
	return in, err
}

func kindOf(w projector.Write) (kind types.ParameterType, key string) {
	if w.Route == nil || !w.Route.Secure {
		return types.ParameterTypeString, ""
	}
	return types.ParameterTypeSecureString, w.Route.KMSKey
}

// Write reads parameters that it has not written before, or whose revision it has
// written already, and then makes one request per key that differs. A failed call
// discards the state of its keys: the next one reads what was done, and does the rest.
func (s *Store) Write(ctx context.Context, writes []projector.Write) ([]error, error) {
	if s.perTenant {
		return awssdk.ByTenant(ctx, writes, s.write)
	}
	return s.write(ctx, writes)
}

func (s *Store) write(ctx context.Context, writes []projector.Write) ([]error, error) {
	errs := make([]error, len(writes))
	intents := make([]intent, len(writes))
	var names, unknown []string
	for i, w := range writes {
		if intents[i], errs[i] = s.intend(w); errs[i] != nil {
			continue
		}
		names = append(names, intents[i].name)
		if k, ok := s.knows(intents[i].name); !ok || w.Revision <= k.revision {
			unknown = append(unknown, intents[i].name)
		}
	}
	found, err := s.look(ctx, unknown)
	if err != nil {
		return nil, err
	}
	// Of two new keys that are in each other's way the shorter comes in.
	order := make([]int, len(intents))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(intents[i].name, intents[j].name) })
	for _, i := range order {
		in := intents[i]
		if errs[i] != nil {
			continue
		}
		look, fresh := found[in.name]
		if errs[i] = look.err; errs[i] != nil {
			continue
		}
		if fresh {
			k, adopted := look.known(), s.adopts(look, in)
			if adopted {
				k.revision = max(k.revision, in.Revision)
			}
			s.learn(in.name, k)
			if adopted {
				continue
			}
		}
		errs[i] = s.apply(ctx, in)
		switch {
		case unanswered(errs[i]):
			s.forget(names...)
			return nil, errs[i]
		case refused(errs[i]):
			s.forget(in.name)
			if !fresh { // what was known may not be so any more: the next try reads it
				errs[i] = errors.New(errs[i].Error())
			}
		}
	}
	return errs, nil
}

// adopts reports whether the existing parameter needs no write: it is what the write
// would make of it, or is of a newer revision of this ledger.
func (s *Store) adopts(found look, in intent) bool {
	if !found.ok {
		return in.Deleted()
	}
	return s.Same(found.item, in.Write) || in.Replace == nil && found.item.Revision > in.Revision
}

// apply makes the request of a write, unless something that is known is in its way.
func (s *Store) apply(ctx context.Context, in intent) error {
	if in.Deleted() {
		if err := s.delete(ctx, in.name); err != nil {
			return err
		}
		s.forget(in.name)
		return nil
	}
	k, _ := s.knows(in.name)
	if wait := s.recreateIn(in.name); k.version == 0 && wait > 0 {
		return laterError(fmt.Sprintf("%s was deleted, and AWS asks for %s until one of the same name is created: %s to go", in.name, s.recreateAfter, wait.Round(time.Second)))
	}
	if k.version > 0 && k.kind != in.kind {
		return projector.Refuse("%s is a %s and must become a %s, but AWS does not change a parameter's type: delete the parameter, and wait 30 seconds", in.name, k.kind, in.kind)
	}
	if k.version == 0 && s.layout.flat {
		if err := s.checkNesting(ctx, in.Tenant, in.name); err != nil {
			return err
		}
	}
	put := &ssm.PutParameterInput{
		Name:        &in.name,
		Value:       &in.text,
		Description: aws.String(in.mark.Format()),
		Type:        in.kind,
		Tier:        s.tier,
		Overwrite:   aws.Bool(true),
	}
	if s.tier == types.ParameterTierStandard && (k.advanced || len(in.text) > maxStandard) { // there is no way back to the standard tier
		put.Tier = types.ParameterTierAdvanced
	}
	if in.kind == types.ParameterTypeSecureString {
		if in.key = cmp.Or(in.key, k.key); in.key != "" { // else AWS takes the account's own
			put.KeyId = &in.key
		}
	}
	if tags := s.tags.Of(in.Tenant); k.version == 0 && len(tags) > 0 { // AWS takes no tags with Overwrite
		put.Overwrite = aws.Bool(false)
		for _, name := range s.tags.Keys() {
			put.Tags = append(put.Tags, types.Tag{Key: aws.String(name), Value: aws.String(tags[name])})
		}
	}
	if err := s.writes.Wait(ctx); err != nil {
		return fmt.Errorf("put %s: %w", in.name, err)
	}
	out, err := s.client.PutParameter(ctx, put, once)
	if err != nil {
		if _, exists := errors.AsType[*types.ParameterAlreadyExists](err); exists { // another program was faster
			s.forget(in.name)
		}
		return explain("put "+in.name, err)
	}
	if k.version > 0 && out.Version > k.version+1 {
		s.log.Warn("a change that was made by hand was overwritten", "parameter", in.name, "version", out.Version-1, "by", out.Version)
	}
	s.learn(in.name, known{revision: in.Revision, version: out.Version, kind: in.kind, key: in.key, advanced: out.Tier == types.ParameterTierAdvanced})
	return nil
}

// checkNesting looks for parameters that a new one could not be next to: those that its
// name has as levels, and those below it.
func (s *Store) checkNesting(ctx context.Context, t ledger.Tenant, name string) error {
	for above := range slices.Chunk(s.layout.above(t, name), batch) {
		found, err := s.values(ctx, above, false)
		if err != nil {
			return err
		}
		for other := range found {
			return nested(name, other)
		}
	}
	pages := ssm.NewGetParametersByPathPaginator(s.client, &ssm.GetParametersByPathInput{Path: &name, Recursive: aws.Bool(true), MaxResults: aws.Int32(1)})
	for pages.HasMorePages() {
		if err := s.reads.Wait(ctx); err != nil {
			return fmt.Errorf("read below %s: %w", name, err)
		}
		page, err := pages.NextPage(ctx)
		if err != nil {
			return explain("read below "+name, err)
		}
		for _, p := range page.Parameters {
			return nested(name, aws.ToString(p.Name))
		}
	}
	return nil
}

func (s *Store) delete(ctx context.Context, name string) error {
	if err := s.writes.Wait(ctx); err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	s.mu.Lock()
	now := time.Now()
	if now.Sub(s.pruned) >= s.recreateAfter {
		maps.DeleteFunc(s.deleted, func(_ string, at time.Time) bool { return now.Sub(at) >= s.recreateAfter })
		s.pruned = now
	}
	s.deleted[name] = now
	s.mu.Unlock()
	_, err := s.client.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: &name}, once)
	if _, gone := errors.AsType[*types.ParameterNotFound](err); err != nil && !gone {
		return explain("delete "+name, err)
	}
	return nil
}

// recreateIn is how long a parameter that is not there may not be created yet.
func (s *Store) recreateIn(name string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.deleted[name]
	wait := s.recreateAfter - time.Since(at)
	if !ok || wait <= 0 {
		delete(s.deleted, name)
		return 0
	}
	return wait
}

// once keeps the SDK from sending a write again: it would make another version, and
// go past the rate.
func once(o *ssm.Options) { o.Retryer = aws.NopRetryer{} }

func (s *Store) knows(name string) (known, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.known[name]
	return k, ok
}

// learn keeps the state of a parameter, unless the parameter does not exist: deleted keys would
// accumulate, and reading one costs little.
func (s *Store) learn(name string, k known) {
	if k.version == 0 {
		s.forget(name)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[name] = k
}

func (s *Store) forget(names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		delete(s.known, name)
	}
}
