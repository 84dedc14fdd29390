package systemtest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/stelehq/stele/client"
	"github.com/stelehq/stele/cmd/stele/internal/environ"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector/dynamotest"
	"github.com/stelehq/stele/internal/projector/fakeaws"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"pgregory.net/rapid"
)

// TestRoundTrips writes the same values in every way and reads each of them in every
// way: docs/round-trips.md lists the pairs. The values are numbers, text with every kind
// of white space, deep objects and large values; most are generated.
func TestRoundTrips(t *testing.T) {
	w := newTrips(t)
	values := roundTripValues(t)
	for way, write := range map[string]func(*testing.T, map[string]ledger.Value){
		"set": w.set, "apply": w.apply, "import": w.importFile, "rest": w.putREST, "grpc": w.commit, "sdk": w.commitSDK, "consul": w.importConsul, "git": w.importGit,
	} {
		named := make(map[string]ledger.Value)
		for i, v := range values {
			named[fmt.Sprintf("rt/%s/%s/v%03d", way, group(v), i)] = v
		}
		t.Run("in by "+way, func(t *testing.T) { write(t, named) })
		maps.Copy(w.want, named)
		w.ways = append(w.ways, way)
	}
	for way, check := range map[string]func(*testing.T){
		"get --raw": w.getRaw, "export": w.export, "log": w.log, "exec": w.exec, "REST": w.getREST, "gRPC": w.get, "SDK": w.getSDK,
		"files": w.files, "DynamoDB": w.dynamoDB, "Parameter Store": w.parameters, "Secrets Manager": w.secrets, "S3": w.objects,
	} {
		t.Run("out by "+way, check)
	}
}

// roundTripValues are the same in each call.
func roundTripValues(t *testing.T) []ledger.Value {
	t.Helper()
	values := []ledger.Value{
		"null", "true", "0", "-0", "1.0", "1E+2", "0.1e-7", "1e400", "9007199254740993", "123456789012345678901234567890.50", "[]", "{}",
		ledger.Value(strings.Repeat("[", 99) + "1" + strings.Repeat("]", 99)), ledger.Value(strings.Repeat(`{"a":`, 60) + `"x"` + strings.Repeat("}", 60)),
		ledger.Value("[" + strings.Repeat(`{"name":"value"},`, 10_000) + "1]"),
	}
	text := []string{"", " ", "\n", "x\n", "\r\n", " \t\n\r\f\v\u0085\u00a0\u2028\u2029\u3000\ufeff x ", "a\x00b", "\x7f\u0080", "true", "1.0", `"quoted"`, "{{x}}", strings.Repeat("ä \n", 100_000)}
	letters := rapid.StringOfN(rapid.SampledFrom([]rune(" \t\n\r\v\f\u00a0\u2028\ufeff\"\\'$&<>#=:{}[]%*?~-_/aZ09äß😀\u0000\u001b")), 0, 40, -1)
	for i := range 30 {
		text = append(text, letters.Example(i))
	}
	for _, s := range text {
		v, err := ledger.StringValue(s)
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, v)
	}
	number := rapid.StringMatching(`-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,20})?([eE][-+]?[0-9]{1,3})?`)
	for i := range 15 {
		values = append(values, ledger.Value(number.Example(i)))
	}
	leaf := rapid.OneOf(number, rapid.Map(letters, func(s string) string {
		v, err := ledger.StringValue(s)
		if err != nil {
			t.Error(err)
		}
		return string(v)
	}))
	object := rapid.Map(rapid.MapOfN(rapid.StringMatching(`[a-z ]{1,8}`), leaf, 1, 5), func(m map[string]string) string {
		var members []string
		for name, value := range m {
			members = append(members, fmt.Sprintf("%q:[%s,{%q:%s}]", name, value, name, value))
		}
		return "{" + strings.Join(members, ",") + "}"
	})
	for i := range 15 {
		v, err := ledger.ParseValue(object.Example(i))
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, v)
	}
	return values
}

// group is the folder of a value's key: env if a variable can hold the value.
func group(v ledger.Value) string {
	if bare := environ.Bare(v); len(bare) > 100_000 || strings.ContainsRune(bare, 0) {
		return "x"
	}
	return "env"
}

// trips is a ledger with a sink of every kind of store.
type trips struct {
	*gateway
	config, data string
	aws          *fakeaws.Server
	table        string // the endpoint of DynamoDB; empty without one
	ways         []string
	want         map[string]ledger.Value
}

func newTrips(t *testing.T) *trips {
	w := &trips{config: filepath.Join(t.TempDir(), "config.yaml"), data: filepath.Join(t.TempDir(), "data"), want: make(map[string]ledger.Value)}
	var err error
	if w.aws, err = fakeaws.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.aws.Close)
	w.aws.Objects.MakeBucket("config", true)
	for _, e := range w.aws.Environ() {
		name, value, _ := strings.Cut(e, "=")
		t.Setenv(name, value)
	}
	sinks := map[string]any{
		"files":          map[string]any{"kind": "directory", "path": filepath.Join(w.data, "files")},
		"parameterstore": map[string]any{"endpoint": w.aws.URL, "region": "us-east-1", "rate": 100000, "reads": 100000},
		"secretsmanager": map[string]any{"endpoint": w.aws.URL, "region": "us-east-1", "rate": 100000, "reads": 100000},
		"s3":             map[string]any{"endpoint": w.aws.URL, "region": "us-east-1", "bucket": "config", "reads": 100000},
	}
	switch dynamo, err := dynamotest.Run(); {
	case err == nil:
		t.Cleanup(func() { dynamo.Close() })
		w.table = dynamo.Endpoint
		sinks["dynamodb"] = map[string]any{"endpoint": w.table, "region": "us-east-1", "create": true}
	case !errors.Is(err, dynamotest.ErrMissing):
		t.Fatal(err)
	}
	names := slices.Collect(maps.Keys(sinks))
	routes, err := json.Marshal(map[string]any{"sinks": sinks, "routes": []any{map[string]any{"prefix": "rt/", "sinks": names}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "stele.yaml")
	writeFile(t, file, routes)
	w.gateway = startUp(t, w.data, w.config, "--config", file)
	return w
}

// stele runs a command for the tenant and returns its standard output.
func (w *trips) stele(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("stele", append([]string{"-t", "acme"}, args...)...)
	cmd.Env = environment(w.config)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("stele %.200q: %v\n%s", args, err, stderr.String())
	}
	return out
}

// file writes a file and returns its path.
func (w *trips) file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	writeFile(t, path, []byte(content))
	return path
}

func (w *trips) set(t *testing.T, values map[string]ledger.Value) {
	args := []string{"set", "--json"}
	dir := t.TempDir()
	for key, v := range values {
		path := filepath.Join(dir, strings.ReplaceAll(key, "/", "-"))
		writeFile(t, path, []byte(v))
		args = append(args, key, "@"+path)
	}
	w.stele(t, args...)
}

func (w *trips) apply(t *testing.T, values map[string]ledger.Value) {
	var changes []string
	for key, v := range values {
		changes = append(changes, fmt.Sprintf(`{"key": %q, "value": %s}`, key, v))
	}
	w.stele(t, "apply", "-f", w.file(t, "changes.json", `{"message": "apply", "changes": [`+strings.Join(changes, ", ")+"]}"))
}

func (w *trips) importFile(t *testing.T, values map[string]ledger.Value) {
	var lines strings.Builder
	for key, v := range values {
		fmt.Fprintf(&lines, `{"key":%q,"revision":1,"value":%s}`+"\n", key, v)
	}
	w.stele(t, "import", w.file(t, "export.jsonl", lines.String()))
}

func (w *trips) importConsul(t *testing.T, values map[string]ledger.Value) {
	var entries []map[string]any
	for key, v := range values {
		entries = append(entries, map[string]any{"key": key, "flags": 0, "value": base64.StdEncoding.EncodeToString([]byte(v))})
	}
	text, err := json.Marshal(entries)
	if err != nil {
		t.Fatal(err)
	}
	w.stele(t, "import", "--from", "consul", w.file(t, "kv.json", string(text)))
}

func (w *trips) importGit(t *testing.T, values map[string]ledger.Value) {
	dir := t.TempDir()
	for key, v := range values {
		path := filepath.Join(dir, key+".json")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		writeFile(t, path, []byte(v))
	}
	for _, args := range [][]string{
		{"init", "-q"}, {"add", "."}, {"-c", "user.name=ada", "-c", "user.email=ada@example.com", "commit", "-q", "-m", "values"},
	} {
		if out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	w.stele(t, "import", "--from", "git", dir)
}

func (w *trips) commit(t *testing.T, values map[string]ledger.Value) {
	req := &stelev1.CommitRequest{Message: "gRPC"}
	for key, v := range values {
		req.Changes = append(req.Changes, &stelev1.Change{Key: key, Value: string(v)})
	}
	if _, err := w.ledger.Commit(acting(t, "acme"), req); err != nil {
		t.Fatal(err)
	}
}

func (w *trips) client(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.Open(t.Context(), client.Config{
		Addresses: []string{w.conn.Target()[len("gateways:///"):]}, Tenant: "acme", Prefixes: []string{"rt/"}, Token: client.TokenFile(filepath.Join(w.data, "token")),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (w *trips) commitSDK(t *testing.T, values map[string]ledger.Value) {
	set := client.ChangeSet{Message: "SDK", Set: make(map[string]any)}
	for key, v := range values {
		set.Set[key] = json.RawMessage(v)
	}
	if _, err := w.client(t).Ledger().Commit(t.Context(), set); err != nil {
		t.Fatal(err)
	}
}

var restAddress = regexp.MustCompile(`(?m)^  REST +(\S+/v1)/`)

// rest makes a request and returns the answer's body.
func (w *trips) rest(t *testing.T, method, path, body string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, string(restAddress.FindSubmatch(w.printed(t))[1])+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	token, err := os.ReadFile(filepath.Join(w.data, "token"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	req.Header.Set("As-Tenant", "acme")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s, %v\n%.300s", method, path, resp.Status, err, text)
	}
	return text
}

func (w *trips) putREST(t *testing.T, values map[string]ledger.Value) {
	for key, v := range values {
		w.rest(t, http.MethodPut, "/config/"+key, string(v))
	}
}

// same compares what was read with what was written, text and names.
func (w *trips) same(t *testing.T, got map[string]string, want func(ledger.Value) (text string, ok bool)) {
	t.Helper()
	for key, v := range w.want {
		text, ok := want(v)
		is, found := got[key]
		if found != ok || is != text {
			t.Errorf("%s: %t, %.120q; want %t, %.120q", key, found, is, ok, text)
		}
		delete(got, key)
	}
	if len(got) > 0 {
		t.Errorf("keys that were not written: %d", len(got))
	}
}

// asJSON and asText are the two forms in which a value is written.
func asJSON(v ledger.Value) (string, bool) { return string(v), true }
func asText(v ledger.Value) (string, bool) { return environ.Bare(v), true }

func (w *trips) getRaw(t *testing.T) {
	read := 0
	for key, v := range w.want {
		if read++; read > 12 { // a process each
			break
		}
		if got := w.stele(t, "get", "--raw", key); string(got) != environ.Bare(v) {
			t.Errorf("%s: %.120q, want %.120q", key, got, environ.Bare(v))
		}
	}
}

// lines decodes JSON lines with keys and values.
func lines(t *testing.T, text []byte, each func(key string, value json.RawMessage)) {
	t.Helper()
	type entry struct {
		Key   string
		Value json.RawMessage
	}
	for dec := json.NewDecoder(strings.NewReader(string(text))); dec.More(); {
		var line struct {
			entry
			Changes []entry
		}
		if err := dec.Decode(&line); err != nil {
			t.Fatal(err)
		}
		for _, e := range append(line.Changes, line.entry) {
			if e.Key != "" {
				each(e.Key, e.Value)
			}
		}
	}
}

func (w *trips) export(t *testing.T) {
	got := make(map[string]string)
	lines(t, w.stele(t, "export", "rt/"), func(key string, value json.RawMessage) { got[key] = string(value) })
	w.same(t, got, asJSON)
}

func (w *trips) log(t *testing.T) {
	got := make(map[string]string)
	lines(t, w.stele(t, "log", "--reverse", "-n", "0", "-o", "json"), func(key string, value json.RawMessage) { got[key] = string(value) })
	w.same(t, got, asJSON)
}

func (w *trips) exec(t *testing.T) {
	for _, way := range w.ways {
		got := make(map[string]string)
		for variable := range strings.SplitSeq(string(w.stele(t, "exec", "rt/"+way+"/env", "--env-prefix", "RT_", "--", "env", "-0")), "\x00") {
			if name, value, ok := strings.Cut(variable, "="); ok && strings.HasPrefix(name, "RT_") {
				got["rt/"+way+"/env/"+strings.ToLower(strings.TrimPrefix(name, "RT_"))] = value
			}
		}
		for key, v := range w.want {
			if value, ok := got[key]; strings.HasPrefix(key, "rt/"+way+"/env/") && (!ok || value != environ.Bare(v)) {
				t.Errorf("%s: %t, %.120q; want %.120q", key, ok, value, environ.Bare(v))
			}
		}
	}
}

func (w *trips) getREST(t *testing.T) {
	got := make(map[string]string)
	for key := range w.want {
		var answer struct {
			Entry struct{ Value json.RawMessage }
		}
		if err := json.Unmarshal(w.rest(t, http.MethodGet, "/config/"+key, ""), &answer); err != nil {
			t.Fatal(err)
		}
		got[key] = string(answer.Entry.Value)
	}
	w.same(t, got, asJSON)
}

func (w *trips) get(t *testing.T) {
	got := make(map[string]string)
	for key := range w.want {
		resp, err := w.gateway.config.Get(acting(t, "acme"), &stelev1.GetRequest{Key: key})
		if err != nil {
			t.Fatal(err)
		}
		got[key] = resp.Entry.Value
	}
	w.same(t, got, asJSON)
}

func (w *trips) getSDK(t *testing.T) {
	c := w.client(t)
	got := make(map[string]string)
	for key := range w.want {
		e, ok := c.Get(key)
		if !ok {
			t.Fatalf("%s is not set", key)
		}
		got[key] = e.Value
	}
	w.same(t, got, asJSON)
}

// settled waits until a sink has written or parked every key.
func (w *trips) settled(t *testing.T, sink string) {
	t.Helper()
	await(t, sink, func() bool {
		resp, err := stelev1.NewSinksClient(w.conn).ListSinks(acting(t, "acme"), &stelev1.ListSinksRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range resp.Sinks {
			if s.Name == sink {
				return s.Owner != "" && s.LagRevisions == 0 && s.FailingSince == nil
			}
		}
		return false
	})
}

// eventually compares a sink again until it has everything.
func (w *trips) eventually(t *testing.T, sink string, read func() map[string]string, want func(ledger.Value) (string, bool)) {
	t.Helper()
	w.settled(t, sink)
	await(t, sink+" has every key", func() bool {
		count := 0
		for _, v := range w.want {
			if _, ok := want(v); ok {
				count++
			}
		}
		return len(read()) >= count
	})
	w.same(t, read(), want)
}

func (w *trips) files(t *testing.T) {
	w.eventually(t, "files", func() map[string]string {
		got := make(map[string]string)
		for key := range w.want {
			if text, err := os.ReadFile(filepath.Join(w.data, "files", "acme", key)); err == nil {
				got[key] = string(text)
			}
		}
		return got
	}, asText)
}

func (w *trips) dynamoDB(t *testing.T) {
	if w.table == "" {
		t.Skip(dynamotest.ErrMissing)
	}
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithBaseEndpoint(w.table))
	if err != nil {
		t.Fatal(err)
	}
	db := dynamodb.NewFromConfig(cfg)
	w.eventually(t, "dynamodb", func() map[string]string {
		got := make(map[string]string)
		pages := dynamodb.NewQueryPaginator(db, &dynamodb.QueryInput{
			TableName: aws.String("stele-config"), ConsistentRead: aws.Bool(true), KeyConditionExpression: aws.String("tenant = :t"),
			ExpressionAttributeValues: map[string]types.AttributeValue{":t": &types.AttributeValueMemberS{Value: "acme"}},
		})
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, item := range page.Items {
				if text, ok := item["json"].(*types.AttributeValueMemberS); ok {
					got[item["key"].(*types.AttributeValueMemberS).Value] = text.Value
				}
			}
		}
		return got
	}, func(v ledger.Value) (string, bool) {
		if len(v) > 390_000 {
			return "", false
		}
		return string(v), true
	})
}

var reference = regexp.MustCompile(`(?s)\{\{.*\}\}`)

func (w *trips) parameters(t *testing.T) {
	w.eventually(t, "parameterstore", func() map[string]string {
		got := make(map[string]string)
		for _, name := range w.aws.Parameters.Names() {
			if key, ok := strings.CutPrefix(name, "/stele/acme/"); ok {
				v, _ := w.aws.Parameters.Get(name)
				got[key] = v.Value
			}
		}
		return got
	}, func(v ledger.Value) (string, bool) {
		text := environ.Bare(v)
		if text == "" || len(text) > 8192 || reference.MatchString(text) {
			return "", false
		}
		return text, true
	})
}

func (w *trips) secrets(t *testing.T) {
	w.eventually(t, "secretsmanager", func() map[string]string {
		got := make(map[string]string)
		for _, name := range w.aws.Secrets.Names() {
			if key, ok := strings.CutPrefix(name, "stele/acme/"); ok {
				s, _ := w.aws.Secrets.Get(name)
				got[key] = s.Value("AWSCURRENT")
			}
		}
		return got
	}, func(v ledger.Value) (string, bool) {
		text := environ.Bare(v)
		if text == "" || len(text) > 65_536 {
			return "", false
		}
		return text, true
	})
}

func (w *trips) objects(t *testing.T) {
	w.eventually(t, "s3", func() map[string]string {
		got := make(map[string]string)
		for _, name := range w.aws.Objects.Keys("config") {
			if key, ok := strings.CutPrefix(name, "stele/acme/"); ok {
				o, _ := w.aws.Objects.Get("config", name)
				got[key] = string(o.Body)
			}
		}
		return got
	}, asText)
}
