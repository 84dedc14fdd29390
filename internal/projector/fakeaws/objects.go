package fakeaws

import (
	"bytes"
	"cmp"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Object is a version of an object of S3.
type Object struct {
	Body        []byte
	ContentType string
	// Metadata has the names without "x-amz-meta-".
	Metadata map[string]string
	Tags     map[string]string
	ETag     string
	// KMSKey is the key of KMS that encrypts it; empty for S3's own encryption.
	KMSKey   string
	Modified time.Time
	// Deleted marks a delete marker.
	Deleted bool
}

type bucket struct {
	versioned bool
	objects   map[string][]*Object // the versions of each key, the oldest first
}

// newest is nil if the key does not have an object.
func (b *bucket) newest(key string) *Object {
	versions := b.objects[key]
	if len(versions) == 0 || versions[len(versions)-1].Deleted {
		return nil
	}
	return versions[len(versions)-1]
}

func (b *bucket) put(key string, o *Object) {
	if !b.versioned {
		b.objects[key] = nil
	}
	if o.Deleted && !b.versioned {
		delete(b.objects, key)
		return
	}
	b.objects[key] = append(b.objects[key], o)
}

const (
	maxObjectKey   = 1024
	maxMetadata    = 2 << 10
	maxObjectTags  = 10
	metadataPrefix = "X-Amz-Meta-"
)

// Objects is S3.
type Objects struct {
	*account
	buckets map[string]*bucket // guarded by mu
}

func newObjects(a *account) *Objects {
	return &Objects{account: a, buckets: make(map[string]*bucket)}
}

func (s *Objects) find(name string) (*bucket, error) {
	if b := s.buckets[name]; b != nil {
		return b, nil
	}
	return nil, &apiError{"NoSuchBucket", "The specified bucket does not exist", http.StatusNotFound}
}

var (
	errPrecondition = &apiError{"PreconditionFailed", "At least one of the pre-conditions you specified did not hold", http.StatusPreconditionFailed}
	errNoKey        = &apiError{"NoSuchKey", "The specified key does not exist.", http.StatusNotFound}
)

// check compares a write with its preconditions.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
func (o *Object) check(h http.Header) error {
	if h.Get("If-None-Match") == "*" && o != nil {
		return errPrecondition
	}
	switch match := h.Get("If-Match"); {
	case match == "":
		return nil
	case o == nil:
		return errNoKey
	case match != "*" && match != o.ETag:
		return errPrecondition
	}
	return nil
}

func (s *Objects) putObject(c s3Call, h http.Header) (any, error) {
	b, err := s.find(c.bucket)
	if err != nil {
		return nil, err
	}
	o := &Object{Body: c.body, ContentType: c.Header.Get("Content-Type"), Metadata: make(map[string]string), Tags: make(map[string]string), Modified: time.Now()}
	size := 0
	for name, values := range c.Header {
		if rest, ok := strings.CutPrefix(name, metadataPrefix); ok {
			o.Metadata[strings.ToLower(rest)] = values[0]
			size += len(rest) + len(values[0])
		}
	}
	tags, err := url.ParseQuery(c.Header.Get("X-Amz-Tagging"))
	switch {
	case len(c.key) > maxObjectKey:
		return nil, fail("KeyTooLongError", "Your key is too long")
	case size > maxMetadata:
		return nil, fail("MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size")
	case err != nil || len(tags) > maxObjectTags:
		return nil, fail("InvalidTag", "Object tags cannot be greater than %d", maxObjectTags)
	}
	for k, v := range tags {
		o.Tags[k] = v[0]
	}
	if err := b.newest(c.key).check(c.Header); err != nil {
		return nil, err
	}
	if c.Header.Get("X-Amz-Server-Side-Encryption") == "aws:kms" {
		o.KMSKey = cmp.Or(c.Header.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"), "alias/aws/s3")
		if err := s.checkObjectKey(o.KMSKey); err != nil {
			return nil, err
		}
	}
	o.ETag = etag(o)
	b.put(c.key, o)
	o.headers(h)
	return nil, nil
}

// etag is the MD5 of what S3 encrypts by itself, and opaque for what KMS does.
func etag(o *Object) string {
	text := o.Body
	if o.KMSKey != "" {
		text = fmt.Appendf(bytes.Clone(text), "%d", o.Modified.UnixNano())
	}
	sum := md5.Sum(text)
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

func (o *Object) headers(h http.Header) {
	h.Set("ETag", o.ETag)
	h.Set("X-Amz-Server-Side-Encryption", "AES256")
	if o.KMSKey != "" {
		h.Set("X-Amz-Server-Side-Encryption", "aws:kms")
		h.Set("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", o.KMSKey)
	}
}

// checkObjectKey refuses keys of KMS that a fault has disabled.
func (s *Objects) checkObjectKey(id string) error {
	if slices.Contains(s.faults.DeadKeys, id) {
		return fail("KMS.DisabledException", "%s is disabled.", id)
	}
	return nil
}

func (s *Objects) getObject(c s3Call, h http.Header) (any, error) {
	b, err := s.find(c.bucket)
	if err != nil {
		return nil, err
	}
	o := b.newest(c.key)
	if o == nil {
		return nil, errNoKey
	}
	if o.KMSKey != "" && c.Method == http.MethodGet {
		if err := s.checkObjectKey(o.KMSKey); err != nil {
			return nil, err
		}
	}
	o.headers(h)
	h.Set("Content-Type", o.ContentType)
	h.Set("Last-Modified", o.Modified.UTC().Format(http.TimeFormat))
	for name, value := range o.Metadata {
		h.Set(metadataPrefix+name, value)
	}
	return o.Body, nil
}

// deleteObject makes a delete marker in a versioned bucket.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html
func (s *Objects) deleteObject(c s3Call, _ http.Header) (any, error) {
	b, err := s.find(c.bucket)
	if err != nil {
		return nil, err
	}
	if err := b.newest(c.key).check(c.Header); err != nil {
		return nil, err
	}
	b.put(c.key, &Object{Deleted: true, Modified: time.Now()})
	return nil, nil
}

// MakeBucket makes an empty bucket.
func (s *Objects) MakeBucket(name string, versioned bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buckets[name] = &bucket{versioned: versioned, objects: make(map[string][]*Object)}
}

// Keys lists the keys of a bucket's objects, in order.
func (s *Objects) Keys(bucket string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[bucket]
	return slices.DeleteFunc(slices.Sorted(maps.Keys(b.objects)), func(key string) bool { return b.newest(key) == nil })
}

// Get returns the newest version of an object; ok is false if there is none.
func (s *Objects) Get(bucket, key string) (o Object, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if newest := s.buckets[bucket].newest(key); newest != nil {
		return *newest, true
	}
	return Object{}, false
}

// Versions are all versions of an object, the oldest first, with delete markers.
func (s *Objects) Versions(bucket, key string) (all []Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.buckets[bucket].objects[key] {
		all = append(all, *o)
	}
	return all
}

// Edit changes an object by hand: its body, and nothing else of it.
func (s *Objects) Edit(bucket, key string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := Object{ContentType: "binary/octet-stream"}
	if was := s.buckets[bucket].newest(key); was != nil {
		o = *was
	}
	o.Body, o.Modified = body, time.Now()
	o.ETag = etag(&o)
	s.buckets[bucket].put(key, &o)
}

// Remove deletes an object by hand.
func (s *Objects) Remove(bucket, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buckets[bucket].put(key, &Object{Deleted: true, Modified: time.Now()})
}
