package fakeaws

import (
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// s3Call is a request to S3, in path style: /BUCKET/KEY.
type s3Call struct {
	*http.Request
	bucket, key string
	body        []byte
}

// operation is the call's name, as IAM and the SDK know it; empty for one that the fake
// does not have.
func (c s3Call) operation() string {
	_, versioning := c.URL.Query()["versioning"]
	switch {
	case c.key == "" && versioning && c.Method == http.MethodGet:
		return "GetBucketVersioning"
	case c.key == "" && versioning && c.Method == http.MethodPut:
		return "PutBucketVersioning"
	case c.key == "" && c.Method == http.MethodPut:
		return "CreateBucket"
	case c.key == "" && c.Method == http.MethodGet && c.URL.Query().Get("list-type") == "2":
		return "ListObjectsV2"
	case c.key == "":
		return ""
	}
	return map[string]string{http.MethodPut: "PutObject", http.MethodGet: "GetObject", http.MethodHead: "HeadObject", http.MethodDelete: "DeleteObject"}[c.Method]
}

// s3Operations answer with headers, and a body that is bytes or becomes XML.
var s3Operations = map[string]func(*Objects, s3Call, http.Header) (any, error){
	"CreateBucket":        (*Objects).createBucket,
	"GetBucketVersioning": (*Objects).getBucketVersioning,
	"PutBucketVersioning": (*Objects).putBucketVersioning,
	"ListObjectsV2":       (*Objects).listObjects,
	"PutObject":           (*Objects).putObject,
	"GetObject":           (*Objects).getObject,
	"HeadObject":          (*Objects).getObject,
	"DeleteObject":        (*Objects).deleteObject,
}

// serve answers a call in the protocol restXml.
func (s *Objects) serve(w http.ResponseWriter, r *http.Request, by Caller) {
	call := s3Call{Request: r}
	call.bucket, call.key, _ = strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has gone
	}
	if call.body = body; strings.HasPrefix(r.Header.Get("Content-Encoding"), "aws-chunked") {
		http.Error(w, "the fake does not read aws-chunked bodies", http.StatusNotImplemented)
		return
	}
	operation := call.operation()
	f := s.arrive(operation, by, []byte(r.URL.String()))
	s.wait(r.Context(), f.delay)
	header := w.Header()
	var out any
	switch run := s3Operations[operation]; {
	case run == nil:
		err = &apiError{"NotImplemented", "the fake does not do " + r.Method + " " + r.URL.String(), http.StatusNotImplemented}
	case f.err != nil:
		err = s3Fault(f.err)
	default:
		s.mu.Lock()
		out, err = run(s, call, header)
		s.mu.Unlock()
	}
	if f.lose {
		panic(http.ErrAbortHandler) // closes the connection without an answer
	}
	if err != nil {
		answer := &apiError{Code: "InternalError", Message: err.Error(), status: http.StatusInternalServerError}
		errors.As(err, &answer)
		if answer.status == 0 {
			answer.status = http.StatusBadRequest
		}
		header.Set("Content-Type", "application/xml")
		w.WriteHeader(answer.status)
		if r.Method != http.MethodHead {
			xml.NewEncoder(w).Encode(s3Error{Code: answer.Code, Message: answer.Message, Key: call.key})
		}
		return
	}
	switch out := out.(type) {
	case nil:
		if r.Method == http.MethodDelete {
			w.WriteHeader(http.StatusNoContent)
		}
	case []byte:
		header.Set("Content-Length", strconv.Itoa(len(out)))
		if r.Method != http.MethodHead {
			w.Write(out)
		}
	default:
		header.Set("Content-Type", "application/xml")
		io.WriteString(w, xml.Header)
		xml.NewEncoder(w).Encode(out)
	}
}

type s3Error struct {
	XMLName            xml.Name `xml:"Error"`
	Code, Message, Key string
}

// s3Fault gives faults the names that they have in S3.
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
func s3Fault(err error) error {
	api := &apiError{}
	if !errors.As(err, &api) {
		return err
	}
	switch api.Code {
	case "ThrottlingException":
		return &apiError{"SlowDown", "Please reduce your request rate.", http.StatusServiceUnavailable}
	case "InternalServerError":
		return &apiError{"InternalError", "We encountered an internal error. Please try again.", http.StatusInternalServerError}
	case "AccessDeniedException":
		return &apiError{"AccessDenied", "Access Denied", http.StatusForbidden}
	}
	return err
}

func (s *Objects) createBucket(c s3Call, _ http.Header) (any, error) {
	if s.buckets[c.bucket] != nil {
		return nil, &apiError{"BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded and you already own it.", http.StatusConflict}
	}
	s.buckets[c.bucket] = &bucket{objects: make(map[string][]*Object)}
	return nil, nil
}

type versioningConfiguration struct {
	XMLName xml.Name `xml:"VersioningConfiguration"`
	Status  string   `xml:",omitempty"`
}

func (s *Objects) getBucketVersioning(c s3Call, _ http.Header) (any, error) {
	b, err := s.find(c.bucket)
	if err != nil {
		return nil, err
	}
	out := versioningConfiguration{}
	if b.versioned {
		out.Status = "Enabled"
	}
	return out, nil
}

func (s *Objects) putBucketVersioning(c s3Call, _ http.Header) (any, error) {
	b, err := s.find(c.bucket)
	if err != nil {
		return nil, err
	}
	var in versioningConfiguration
	if err := xml.Unmarshal(c.body, &in); err != nil {
		return nil, fail("MalformedXML", "The XML you provided was not well-formed: %v", err)
	}
	b.versioned = in.Status == "Enabled"
	return nil, nil
}

type listing struct {
	XMLName               xml.Name `xml:"ListBucketResult"`
	Name, Prefix          string
	KeyCount, MaxKeys     int
	IsTruncated           bool
	NextContinuationToken string `xml:",omitempty"`
	Contents              []listed
}

type listed struct {
	Key, LastModified, ETag string
	Size                    int
}

const maxListed = 1000

// listObjects lists in the order of the keys' bytes.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
func (s *Objects) listObjects(c s3Call, _ http.Header) (any, error) {
	b, err := s.find(c.bucket)
	if err != nil {
		return nil, err
	}
	q := c.URL.Query()
	limit := maxListed
	if s.faults.ShortPages {
		limit = 2
	}
	out := listing{Name: c.bucket, Prefix: q.Get("prefix"), MaxKeys: limit}
	after, err := readToken(q.Get("continuation-token"))
	if q.Get("continuation-token") == "" {
		after, err = "", nil
	}
	if err != nil {
		return nil, fail("InvalidArgument", "The continuation token provided is incorrect")
	}
	for _, key := range slices.Sorted(maps.Keys(b.objects)) {
		o := b.newest(key)
		if o == nil || key <= after || !strings.HasPrefix(key, out.Prefix) {
			continue
		}
		if len(out.Contents) == limit {
			out.IsTruncated, out.NextContinuationToken = true, writeToken(out.Contents[limit-1].Key)
			break
		}
		out.Contents = append(out.Contents, listed{key, o.Modified.UTC().Truncate(time.Second).Format("2006-01-02T15:04:05.000Z"), o.ETag, len(o.Body)})
	}
	out.KeyCount = len(out.Contents)
	return out, nil
}
