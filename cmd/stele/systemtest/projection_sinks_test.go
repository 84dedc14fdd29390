//go:build faults && history

package systemtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector/dynamotest"
	"github.com/stelehq/stele/internal/projector/fakeaws"
)

// sinks are what a projector writes to in a test, and a way to look at each that is
// not the projector's.
type sinks struct {
	aws      *fakeaws.Server
	dynamo   *dynamodb.Client
	proxy    *recorder
	files    string
	settings string // file with the routes

	// Of the edits by hand.
	edited  int
	touched map[string]bool
	once    map[ledger.Tenant]held
}

// Keys of tenantconfig are repaired when they drift, keys of paramconfig adopted,
// however many they are.
const sinkSettings = `sinks:
  dynamodb: {endpoint: %q, create: true}
  parameterstore: {endpoint: %q, rate: 100000, reads: 100000, recreate_after: 0s, drift_limit: {percent: 100}}
  bus: {kind: eventbridge, endpoint: %q}
  files: {kind: directory, path: %q, drift_limit: {percent: 100}}
routes:
  - {prefix: tenantconfig/, sinks: [dynamodb, bus, files], drift: repair}
  - {prefix: paramconfig/, sinks: [parameterstore, bus, files], drift: adopt, adopt_deletions: true}
`

func startSinks(t *testing.T) *sinks {
	t.Helper()
	endpoint := dynamotest.Start(t)
	amazon, err := fakeaws.Start()
	if err != nil {
		t.Fatal(err)
	}
	s := &sinks{aws: amazon, proxy: record(t, endpoint), files: t.TempDir(), settings: filepath.Join(t.TempDir(), "stele.yaml"),
		touched: make(map[string]bool), once: make(map[ledger.Tenant]held)}
	t.Cleanup(func() { s.aws.Close() })
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithBaseEndpoint(endpoint))
	if err != nil {
		t.Fatal(err)
	}
	s.dynamo = dynamodb.NewFromConfig(cfg)
	text := fmt.Sprintf(sinkSettings, s.proxy.URL, s.aws.URL, s.aws.URL, s.files)
	if err := os.WriteFile(s.settings, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// recorder is a proxy before DynamoDB that sees which revisions are written.
type recorder struct {
	*httptest.Server
	mu     sync.Mutex
	newest map[string]uint64 // by tenant and key
	writes int
	back   []string // what went backwards
}

type puttingKey struct{}

// put is what the recorder reads of an UpdateItem.
type put struct {
	Key                       map[string]struct{ S string }
	UpdateExpression          string
	ExpressionAttributeNames  map[string]string
	ExpressionAttributeValues map[string]struct{ N string }
}

var assigned = regexp.MustCompile(`(#\w+) = (:\w+)`)

// revision is what the item's becomes.
func (p *put) revision() (uint64, error) {
	for _, a := range assigned.FindAllStringSubmatch(p.UpdateExpression, -1) {
		if p.ExpressionAttributeNames[a[1]] == "revision" {
			return strconv.ParseUint(p.ExpressionAttributeValues[a[2]].N, 10, 64)
		}
	}
	return 0, fmt.Errorf("%q sets no revision", p.UpdateExpression)
}

func record(t *testing.T, endpoint string) *recorder {
	t.Helper()
	to, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{newest: make(map[string]uint64)}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(to); p.Out.Host = to.Host },
		ModifyResponse: func(resp *http.Response) error {
			if w, ok := resp.Request.Context().Value(puttingKey{}).(*put); ok && resp.StatusCode == http.StatusOK {
				r.wrote(w)
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }, // its caller was killed
	}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return // its caller was killed on the way
		}
		// A received request is completed, even if its caller dies.
		ctx := context.WithoutCancel(req.Context())
		var p put
		if strings.HasSuffix(req.Header.Get("X-Amz-Target"), ".UpdateItem") && json.Unmarshal(body, &p) == nil {
			ctx = context.WithValue(ctx, puttingKey{}, &p)
		}
		req = req.WithContext(ctx)
		req.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, req)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *recorder) wrote(p *put) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writes++
	name := p.Key["tenant"].S + " " + p.Key["key"].S
	rev, err := p.revision()
	if err != nil || rev < r.newest[name] {
		r.back = append(r.back, fmt.Sprintf("%s from %d to %d, %v", name, r.newest[name], rev, err))
	}
	r.newest[name] = rev
}

func (r *recorder) written() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.writes
}

// held is what a sink holds of a tenant: values by key, as JSON text or, where the
// sink writes strings plainly, as those.
type held map[string]string

func (s *sinks) inDynamoDB(t *testing.T, tenant ledger.Tenant) held {
	t.Helper()
	return tableOf(t, s.dynamo, tenant)
}

// tableOf is what the table holds of a tenant.
func tableOf(t *testing.T, client *dynamodb.Client, tenant ledger.Tenant) held {
	t.Helper()
	out := make(held)
	pages := dynamodb.NewQueryPaginator(client, &dynamodb.QueryInput{
		TableName: aws.String("stele-config"), ConsistentRead: aws.Bool(true), KeyConditionExpression: aws.String("tenant = :t"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":t": &types.AttributeValueMemberS{Value: string(tenant)}},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range page.Items {
			if text, ok := item["json"].(*types.AttributeValueMemberS); ok {
				out[item["key"].(*types.AttributeValueMemberS).Value] = text.Value
			}
		}
	}
	return out
}

func (s *sinks) inParameterStore(t *testing.T, tenant ledger.Tenant) held {
	t.Helper()
	out := make(held)
	prefix := "/stele/" + string(tenant) + "/"
	for _, name := range s.aws.Parameters.Names() {
		if key, ok := strings.CutPrefix(name, prefix); ok {
			v, _ := s.aws.Parameters.Get(name)
			out[key] = v.Value
		}
	}
	return out
}

func (s *sinks) inFiles(t *testing.T, tenant ledger.Tenant) held {
	t.Helper()
	out := make(held)
	root := filepath.Join(s.files, string(tenant), "..data") + "/"
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), "..") {
			return err
		}
		text, err := os.ReadFile(name)
		out[strings.TrimPrefix(name, root)] = string(text)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return out
}

// wentBack is what was ever written over something newer.
func (s *sinks) wentBack(t *testing.T) []string {
	t.Helper()
	s.proxy.mu.Lock()
	back := append([]string(nil), s.proxy.back...)
	s.proxy.mu.Unlock()
	for _, name := range s.aws.Parameters.Names() {
		newest := uint64(0)
		for _, c := range s.aws.Parameters.Changes(name) {
			if c.ByHand || c.Deleted {
				continue
			}
			var epoch string
			var rev uint64
			mark := strings.Replace(c.Version.Description, "/", " ", 1)
			if _, err := fmt.Sscanf(mark, "stele %s %d", &epoch, &rev); err != nil || rev < newest {
				back = append(back, fmt.Sprintf("%s from %d to %q", name, newest, c.Version.Description))
			}
			newest = rev
		}
	}
	return back
}

// compare compares the items of a tenant in a sink with those that it should have.
func compare(t *testing.T, sink string, tenant ledger.Tenant, got, want held) string {
	t.Helper()
	for key, text := range want {
		is, ok := got[key]
		switch {
		case !ok:
			return fmt.Sprintf("%s has no %s of %s", sink, key, tenant)
		case !meansTheSame(t, is, text):
			return fmt.Sprintf("%s has for %s of %s %s, not %s", sink, key, tenant, is, text)
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			return fmt.Sprintf("%s has %s of %s, which is not set", sink, key, tenant)
		}
	}
	return ""
}

// meansTheSame compares an item with JSON text. If that is a string, the item may be
// its content.
func meansTheSame(t *testing.T, item, text string) bool {
	t.Helper()
	var plain string
	if json.Unmarshal([]byte(text), &plain) == nil {
		return item == plain || item == text
	}
	return json.Valid([]byte(item)) && same(t, json.RawMessage(item), json.RawMessage(text))
}
