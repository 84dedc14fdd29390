package s3

import (
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/naming"
)

// maxName is how many bytes an object's key has at most.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
const maxName = 1024

// nameOf is a *projector.RefusedError for a key that the bucket cannot hold.
func nameOf(l naming.Layout, t ledger.Tenant, key ledger.Key) (string, error) {
	name, err := l.Name(t, key)
	if err == nil && len(name) > maxName {
		return "", projector.Refuse("the object's name would have %d bytes, and S3 allows %d: rename the key, or use a shorter prefix", len(name), maxName)
	}
	return name, err
}
