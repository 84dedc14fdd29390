package s3

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/awssdk"
	"github.com/stelehq/stele/internal/projector/internal/mark"
	"github.com/stelehq/stele/internal/projector/internal/naming"
)

// intent is what a write comes to.
type intent struct {
	projector.Write
	name string
	body string
	mark mark.Mark
}

func intend(l naming.Layout, epoch ledger.Epoch, w projector.Write) (intent, error) {
	in := intent{Write: w, mark: mark.Mark{Epoch: epoch, Revision: w.Revision}}
	var err error
	if in.name, err = nameOf(l, w.Tenant, w.Key); err != nil || w.Deleted() {
		return in, err
	}
	in.body, in.mark.IsString, err = mark.Text(w.Value)
	return in, err
}

// Write brings the writes into effect one after the other.
func (s *Store) Write(ctx context.Context, writes []projector.Write) ([]error, error) {
	s.checkVersioning(ctx)
	errs := make([]error, len(writes))
	for i, w := range writes {
		in, err := intend(s.layout, s.epoch, w)
		if err == nil {
			err = s.write(awssdk.As(ctx, w.Tenant), in)
		}
		if unanswered(err) {
			return nil, err
		}
		errs[i] = err
	}
	return errs, nil
}

// write looks at the object, and replaces it unless it is right already or newer.
func (s *Store) write(ctx context.Context, in intent) error {
	item, there, err := s.get(ctx, in.name, in.Revision)
	if err != nil {
		return err
	}
	if there && in.Replace == nil && item.Revision > in.Revision || s.is(item, there, in.Write) {
		return nil
	}
	s.cache.Forget(in.Tenant, in.name)
	if in.Deleted() {
		return s.delete(ctx, in.name, item.State.(state).etag)
	}
	put := &s3.PutObjectInput{
		Bucket: &s.bucket, Key: &in.name, Body: strings.NewReader(in.body), ContentType: aws.String("application/json"),
		Metadata: map[string]string{markName: in.mark.Format()}, Tagging: s.tagging(in.Tenant),
	}
	if in.mark.IsString {
		put.ContentType = aws.String("text/plain; charset=utf-8")
	}
	if in.Route != nil && in.Route.Secure {
		put.ServerSideEncryption = types.ServerSideEncryptionAwsKms
		if in.Route.KMSKey != "" {
			put.SSEKMSKeyId = &in.Route.KMSKey
		}
	}
	if there {
		put.IfMatch = aws.String(item.State.(state).etag)
	} else {
		put.IfNoneMatch = aws.String("*")
	}
	_, err = s.client.PutObject(ctx, put)
	return explain("put "+in.name, err)
}

// is reports whether nothing is left to do for a write.
func (s *Store) is(item projector.Item, there bool, w projector.Write) bool {
	if w.Deleted() {
		return !there
	}
	return there && s.Same(item, w)
}

// tagging is nil without tags.
func (s *service) tagging(t ledger.Tenant) *string {
	if len(s.tags) == 0 {
		return nil
	}
	return aws.String(s.tags.Query(t))
}

// delete deletes an object if it is still the one that was seen.
func (s *service) delete(ctx context.Context, name, etag string) error {
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: &name, IfMatch: &etag})
	if missing(err) {
		return nil
	}
	return explain("delete "+name, err)
}

// Remove deletes the object if it is still the one that was seen.
func (s *Store) Remove(ctx context.Context, seen projector.Item) error {
	was, ok := seen.State.(state)
	if !ok {
		return fmt.Errorf("remove %s: it was not read from this sink", seen.Name)
	}
	s.cache.Forget(seen.Tenant, seen.Name)
	if err := s.delete(awssdk.As(ctx, seen.Tenant), seen.Name, was.etag); !errors.Is(err, errChanged) {
		return err
	}
	return nil
}
