package s3

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/awssdk"
	"github.com/stelehq/stele/internal/projector/internal/document"
	"github.com/stelehq/stele/internal/projector/internal/naming"
)

// documents is the sink with one object per tenant. Its items are the members of the
// documents.
type documents struct {
	service
	place    naming.PerTenant
	maxBytes int
}

// maxDocument is the largest document, in bytes: each write reads and writes all of it.
const maxDocument = 32 << 20

func (set settings) maxBytes() int { return cmp.Or(set.MaxBytes, maxDocument) }

// place names the documents; the zero one for an object per key.
func (set settings) place() (naming.PerTenant, error) {
	if set.Document == "" {
		return naming.PerTenant{}, nil
	}
	l, err := naming.NewPerTenant("document", set.Document, set.Strip)
	if n := len(set.Document) + longestTenant; err == nil && n > maxName {
		err = fmt.Errorf("document has up to %d bytes with a tenant's name, and S3 allows %d", n, maxName)
	}
	return l, err
}

// longestTenant is how many bytes a tenant's name may have.
const longestTenant = 63

// memberOf is the name of a write's member, and a *projector.RefusedError for a write that
// no document can hold.
func memberOf(l naming.PerTenant, maxBytes int, w projector.Write) (string, error) {
	if w.Route != nil && w.Route.Secure {
		return "", projector.Refuse("its route is secure, and all keys of a document share the bucket's encryption: route it to a sink with an object per key")
	}
	member, err := l.Member(w.Key)
	if err != nil || w.Deleted() {
		return member, err
	}
	return member, document.Alone(member, w.Value, maxBytes)
}

// Limits say that a call has all writes of one tenant, so that a commit is never split, and
// that the sink keeps no secrets.
func (s *documents) Limits() projector.Limits { return projector.Limits{Parallel: parallel} }

// Name is OBJECT:KEY.
func (s *documents) Name(t ledger.Tenant, key ledger.Key) (string, error) {
	member, err := s.place.Member(key)
	return s.place.Item(t, member), err
}

// stored is a tenant's object as it was read.
type stored struct {
	document document.Document
	// etag identifies the object; empty if there is none.
	etag string
}

// current reads a tenant's object. One that is not a document has no settings: the next
// write replaces it.
func (s *documents) current(ctx context.Context, t ledger.Tenant) (d stored, err error) {
	name := s.place.Container(t)
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: &name})
	switch {
	case missing(err):
		return d, nil
	case err != nil:
		return d, explain("read "+name, err)
	}
	defer out.Body.Close()
	body, err := io.ReadAll(io.LimitReader(out.Body, maxDocument+1))
	switch {
	case err != nil:
		return d, fmt.Errorf("read %s: %w", name, err)
	case len(body) > maxDocument:
		return d, fmt.Errorf("read %s: it has more than %d bytes, so that it cannot be a document: delete the object", name, maxDocument)
	}
	d.etag = aws.ToString(out.ETag)
	if d.document, err = document.Parse(body, s.epoch); err != nil {
		s.log.Warn("an object cannot be read, and counts as empty", "object", name, "error", err)
	}
	return d, nil
}

// Write replaces the document of a tenant.
func (s *documents) Write(ctx context.Context, writes []projector.Write) ([]error, error) {
	s.checkVersioning(ctx)
	t := writes[0].Tenant
	ctx = awssdk.As(ctx, t)
	now, err := s.current(ctx, t)
	if err != nil {
		if unanswered(err) {
			return nil, err
		}
		return slices.Repeat([]error{err}, len(writes)), nil
	}
	next, errs, pending := now.document.Apply(writes, func(w projector.Write) (string, error) { return memberOf(s.place, s.maxBytes, w) }, func(size int) error {
		if size <= s.maxBytes {
			return nil
		}
		return projector.Refuse("the document of %s would have %d bytes with it, and the limit is %d: shorten values, or route fewer keys to the sink", t, size, s.maxBytes)
	})
	if len(pending) == 0 {
		return errs, nil
	}
	if err := s.replace(ctx, t, now, next); err != nil {
		if unanswered(err) {
			return nil, err
		}
		for _, i := range pending {
			errs[i] = err
		}
	}
	return errs, nil
}

// replace writes a document if the object is still the one that was read. One without
// settings is deleted.
func (s *documents) replace(ctx context.Context, t ledger.Tenant, now stored, next document.Document) error {
	name := s.place.Container(t)
	if len(next) == 0 {
		return s.delete(ctx, name, now.etag)
	}
	put := &s3.PutObjectInput{Bucket: &s.bucket, Key: &name, Body: bytes.NewReader(next.Encode(s.epoch)), ContentType: aws.String("application/json"), Tagging: s.tagging(t)}
	if now.etag == "" {
		put.IfNoneMatch = aws.String("*")
	} else {
		put.IfMatch = &now.etag
	}
	_, err := s.client.PutObject(ctx, put)
	return explain("put "+name, err)
}

func (s *documents) itemOf(t ledger.Tenant, member string, is document.Setting) projector.Item {
	return projector.Item{Tenant: t, Key: s.place.Key(member), Name: s.place.Item(t, member), Revision: is.Revision, Value: is.Value, State: is}
}

// Same compares revision and value.
func (s *documents) Same(item projector.Item, w projector.Write) bool {
	_, ok := item.State.(document.Setting)
	return ok && !w.Deleted() && item.Revision == w.Revision && item.Value.Equal(w.Value)
}

// Read reads the tenant's document.
func (s *documents) Read(ctx context.Context, name string) (projector.Item, bool, error) {
	t, member, ok := s.place.Parse(name)
	if !ok {
		return projector.Item{}, false, projector.Refuse("%q is not an item of this sink: its names are like %s", name, s.place.Item("TENANT", "KEY"))
	}
	absent := projector.Item{Tenant: t, Key: s.place.Key(member), Name: name}
	now, err := s.current(awssdk.As(ctx, t), t)
	if err != nil {
		return absent, false, err
	}
	is, there := now.document[member]
	if !there {
		return absent, false, nil
	}
	return s.itemOf(t, member, is), true, nil
}

// Scan yields the members of the tenant's document.
func (s *documents) Scan(ctx context.Context, t ledger.Tenant, yield func(projector.Item) error) error {
	if err := s.reads.Wait(ctx); err != nil {
		return fmt.Errorf("scan %s: %w", t, err)
	}
	now, err := s.current(awssdk.As(ctx, t), t)
	if err != nil {
		return err
	}
	for _, member := range slices.Sorted(maps.Keys(now.document)) {
		if err := yield(s.itemOf(t, member, now.document[member])); err != nil {
			return err
		}
	}
	return nil
}

// Remove writes a document without the item, if it is still the one that was seen.
func (s *documents) Remove(ctx context.Context, seen projector.Item) error {
	was, ok := seen.State.(document.Setting)
	t, member, named := s.place.Parse(seen.Name)
	if !ok || !named {
		return fmt.Errorf("remove %s: it was not read from this sink", seen.Name)
	}
	ctx = awssdk.As(ctx, t)
	now, err := s.current(ctx, t)
	if err != nil {
		return err
	}
	if is, there := now.document[member]; !there || is != was {
		return nil
	}
	next := maps.Clone(now.document)
	delete(next, member)
	return s.replace(ctx, t, now, next)
}
