package s3

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/awssdk"
	"github.com/stelehq/stele/internal/projector/internal/mark"
)

// markName is the metadata that has an object's mark.
const markName = "stele"

// state is an item's State.
type state struct {
	etag string
	// kms reports that a key of KMS encrypts the object.
	kms bool
}

// maxBody is how much of an object is read. A longer one was not written here.
const maxBody = 2 * ledger.MaxValue

// get reads an object for a write of a revision: its body only if the object may be
// right already.
func (s *Store) get(ctx context.Context, name string, rev ledger.Revision) (projector.Item, bool, error) {
	head, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: &name})
	switch {
	case missing(err):
		return projector.Item{}, false, nil
	case err != nil:
		return projector.Item{}, false, explain("look at "+name, err)
	}
	item := s.item(name, "", head.Metadata, aws.ToString(head.ETag), head.ServerSideEncryption)
	if item.Revision != rev {
		return item, true, nil
	}
	return s.object(ctx, name)
}

// object reads an object with its body.
func (s *Store) object(ctx context.Context, name string) (projector.Item, bool, error) {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: &name})
	switch {
	case missing(err):
		return projector.Item{}, false, nil
	case err != nil:
		return projector.Item{}, false, explain("read "+name, err)
	}
	defer out.Body.Close()
	body, err := io.ReadAll(io.LimitReader(out.Body, maxBody+1))
	switch {
	case err != nil:
		return projector.Item{}, false, fmt.Errorf("read %s: %w", name, err)
	case len(body) > maxBody:
		return projector.Item{}, false, fmt.Errorf("read %s: it has more than %d bytes, so that it cannot be a value: delete the object", name, maxBody)
	}
	item := s.item(name, string(body), out.Metadata, aws.ToString(out.ETag), out.ServerSideEncryption)
	s.cache.Add(item, stamp(aws.ToString(out.ETag), aws.ToTime(out.LastModified)))
	return item, true, nil
}

func (s *Store) item(name, body string, metadata map[string]string, etag string, sse types.ServerSideEncryption) projector.Item {
	m, _ := mark.Parse(metadata[markName])
	item := projector.Item{Name: name, Value: mark.Value(body, m.IsString), State: state{etag: etag, kms: sse == types.ServerSideEncryptionAwsKms}}
	item.Tenant, item.Key, _ = s.layout.Parse(name)
	if m.Epoch == s.epoch {
		item.Revision = m.Revision
	}
	return item
}

// Same compares revision and value, and that a key of KMS encrypts what a secure route
// wrote. Which key that is S3 reports as an ARN, and a route may name an alias.
func (s *Store) Same(item projector.Item, w projector.Write) bool {
	st, ok := item.State.(state)
	secure := w.Route != nil && w.Route.Secure
	return ok && !w.Deleted() && item.Revision == w.Revision && item.Value.Equal(w.Value) && (st.kms || !secure)
}

// Read makes one request.
func (s *Store) Read(ctx context.Context, name string) (projector.Item, bool, error) {
	t, key, ok := s.layout.Parse(name)
	if !ok {
		return projector.Item{}, false, projector.Refuse("%q is not an object of this sink: its names are like %sKEY", name, s.layout.Base("TENANT"))
	}
	item, there, err := s.object(awssdk.As(ctx, t), name)
	if err == nil && !there {
		item = projector.Item{Tenant: t, Key: key, Name: name}
	}
	return item, there, err
}

// Scan lists the tenant's objects, and reads those that it has not read before as they
// are now.
func (s *Store) Scan(ctx context.Context, t ledger.Tenant, yield func(projector.Item) error) error {
	ctx = awssdk.As(ctx, t)
	listed := make(map[string]bool)
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: aws.String(s.layout.Base(t))})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return explain("list the objects of "+string(t), err)
		}
		for _, o := range page.Contents {
			listed[aws.ToString(o.Key)] = true
			item, ok, err := s.listed(ctx, t, aws.ToString(o.Key), aws.ToString(o.ETag), aws.ToTime(o.LastModified))
			if ctx.Err() != nil || unanswered(err) {
				return fmt.Errorf("scan %s: %w", t, err)
			}
			if err != nil {
				item, ok = projector.Item{Name: aws.ToString(o.Key), Err: err}, true
				item.Tenant, item.Key, _ = s.layout.Parse(item.Name)
			}
			if !ok {
				continue
			}
			if err := yield(item); err != nil {
				return err
			}
		}
	}
	s.cache.Keep(t, listed)
	return nil
}

// stamp is another once an object was written again, unless that was within a second
// and with the same body.
func stamp(etag string, modified time.Time) string {
	return etag + strconv.FormatInt(modified.Unix(), 10)
}

// listed returns an object that a listing has.
func (s *Store) listed(ctx context.Context, t ledger.Tenant, name, etag string, modified time.Time) (projector.Item, bool, error) {
	if item, ok := s.cache.Get(t, name, stamp(etag, modified)); ok {
		return item, true, nil
	}
	if err := s.reads.Wait(ctx); err != nil {
		return projector.Item{}, false, fmt.Errorf("read %s: %w", name, err)
	}
	return s.object(ctx, name)
}
