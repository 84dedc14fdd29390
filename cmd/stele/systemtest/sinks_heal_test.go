//go:build faults && history

package systemtest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector/dynamotest"
	"github.com/stelehq/stele/internal/projector/fakeaws"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// healing is a ledger with a sink of every kind on AWS and a webhook, of which each can
// be made to fail.
type healing struct {
	*gateway
	cli   program
	aws   *fakeaws.Server
	table *toggle
	// dynamo is a client of the table that never fails.
	dynamo *dynamodb.Client
	hook   *receiver
	// want is what the ledger says, by tenant and key.
	want map[ledger.Tenant]map[string]string
	n    int // changes made by the test
}

const healingRoutes = `{
  "sinks": {
    "dynamodb": {"endpoint": %[1]q, "create": true},
    "parameterstore": {"endpoint": %[2]q, "region": "us-east-1", "rate": 100000, "reads": 100000, "recreate_after": "0s"},
    "secretsmanager": {"endpoint": %[2]q, "region": "us-east-1", "rate": 100000, "reads": 100000},
    "s3": {"endpoint": %[2]q, "region": "us-east-1", "bucket": "config", "reads": 100000},
    "documents": {"kind": "s3", "endpoint": %[2]q, "region": "us-east-1", "bucket": "documents", "document": "{tenant}.json", "reads": 100000},
    "appconfig": {"endpoint": %[2]q, "region": "us-east-1", "max_bytes": 2097152, "reads": 100000},
    "eventbridge": {"endpoint": %[2]q, "region": "us-east-1"},
    "webhook": {"url": %[3]q}
  },
  "routes": [
    {"prefix": "tenantconfig/", "sinks": ["dynamodb", "s3", "documents", "appconfig", "eventbridge", "webhook"], "drift": "repair", "values": true},
    {"prefix": "paramconfig/", "sinks": ["parameterstore", "secretsmanager", "eventbridge", "webhook"], "drift": "adopt"}
  ]
}`

// toggle is a proxy that can stop answering.
type toggle struct {
	*httptest.Server
	down atomic.Bool
}

func newToggle(t *testing.T, endpoint string) *toggle {
	t.Helper()
	to, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	proxy, g := httputil.NewSingleHostReverseProxy(to), &toggle{}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.down.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(g.Close)
	return g
}

// receiver is the webhook's. It remembers the newest revision and value of each key.
type receiver struct {
	*httptest.Server
	down   atomic.Bool
	mu     sync.Mutex // guards the fields below
	newest map[string]uint64
	values map[string]string
	back   int
	events map[string]bool // by webhook-id
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{newest: make(map[string]uint64), values: make(map[string]string), events: make(map[string]bool)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if r.down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		var e struct {
			Data struct {
				Tenant, Key, Operation string
				Revision               uint64
				Value                  json.RawMessage
			}
		}
		body, err := io.ReadAll(req.Body)
		if err != nil || json.Unmarshal(body, &e) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		slot, again := e.Data.Tenant+" "+e.Data.Key, r.events[req.Header.Get("Webhook-Id")]
		switch {
		case e.Data.Revision < r.newest[slot] && !again:
			r.back++
		case e.Data.Revision >= r.newest[slot]:
			r.newest[slot] = e.Data.Revision
			if r.values[slot] = string(e.Data.Value); e.Data.Operation == "delete" {
				delete(r.values, slot)
			}
		}
		r.events[req.Header.Get("Webhook-Id")] = true
	}))
	t.Cleanup(r.Close)
	return r
}

// TestSinksHeal imports the history in $STELE_HISTORY into a sink of every kind. Then each
// service fails for $STELE_FAULTS_OUTAGE seconds, its policies deny writes, stores are
// emptied by mistake, and routes change with a prune. The same process reports each, and
// heals.
func TestSinksHeal(t *testing.T) {
	outage := time.Duration(number(t, "STELE_FAULTS_OUTAGE", 300)) * time.Second
	h := startHealing(t, filepath.Join(os.Getenv("STELE_HISTORY"), "data", "govuk-settings.jsonl.gz"))
	h.outage(t, "every service fails", outage, fakeaws.Faults{Broken: 1}, true)
	h.outage(t, "policies deny writes", outage/4, fakeaws.Faults{Denied: []string{"PutParameter", "PutObject", "PutSecretValue", "CreateSecret", "PutEvents", "CreateHostedConfigurationVersion"}}, false)
	h.outage(t, "services throttle", outage/4, fakeaws.Faults{Throttled: 0.9}, false)
	h.empty(t)
	h.reroute(t)
	if h.hook.back > 0 {
		t.Errorf("%d events of a key came after newer ones", h.hook.back)
	}
}

// reroute takes Secrets Manager, S3 and AppConfig out of the routes, with --prune: their items are
// deleted, the items of other sinks stay. Then the first routes fill both again.
func (h *healing) reroute(t *testing.T) {
	t.Helper()
	before := filepath.Join(t.TempDir(), "before.json")
	after := filepath.Join(t.TempDir(), "after.json")
	fewer := strings.NewReplacer(`"dynamodb", "s3", "documents", "appconfig",`, `"dynamodb",`, `"parameterstore", "secretsmanager",`, `"parameterstore",`).Replace(h.routes())
	for path, text := range map[string]string{before: h.routes(), after: fewer} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	secrets, objects, parameters := len(h.aws.Secrets.Names()), len(h.aws.Objects.Keys("config")), len(h.aws.Parameters.Names())
	begun := time.Now()
	fmt.Printf("%s", h.cli.run(t, "routes", "set", "-f", after, "--prune", "--yes"))
	pruned := time.Since(begun)
	if s, o, p := len(h.aws.Secrets.Names()), len(h.aws.Objects.Keys("config")), len(h.aws.Parameters.Names()); s != 0 || o != 0 || p != parameters {
		t.Errorf("after a prune there are %d secrets, %d objects and %d parameters of %d", s, o, p, parameters)
	}
	for tenant := range h.want {
		if n := len(h.documents(tenant)["appconfig"]); n > 0 {
			t.Errorf("after a prune the configuration of %s has %d keys", tenant, n)
		}
	}
	if left := h.aws.Objects.Keys("documents"); len(left) > 0 {
		t.Errorf("after a prune there are the documents %v", left)
	}
	h.cli.run(t, "routes", "set", "-f", before, "--yes")
	h.settled(t, 5*time.Minute)
	fmt.Printf("pruned %d secrets and %d objects in %s; filled again after %s\n", secrets, objects, pruned.Round(100*time.Millisecond), time.Since(begun).Round(100*time.Millisecond))
}

// read copies the history's first lines, as many as $STELE_FAULTS_LINES says, and
// notes what the ledger will say after them.
func (h *healing) read(t *testing.T, from, to string) int {
	t.Helper()
	most := number(t, "STELE_FAULTS_LINES", 1<<30)
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	unpacked, err := gzip.NewReader(bufio.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	n := 0
	for d := json.NewDecoder(unpacked); n < most && d.More(); n++ {
		var line json.RawMessage
		var l sourceLine
		if err := d.Decode(&line); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatal(err)
		}
		out.Write(append(line, '\n'))
		if h.want[l.Tenant] == nil {
			h.want[l.Tenant] = make(map[string]string)
		}
		for _, c := range l.Changes {
			if h.want[l.Tenant][c.Key] = string(c.Value); c.Delete {
				delete(h.want[l.Tenant], c.Key)
			}
		}
	}
	if err := os.WriteFile(to, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return n
}

func startHealing(t *testing.T, file string) *healing {
	t.Helper()
	table := dynamotest.Start(t)
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithBaseEndpoint(table))
	if err != nil {
		t.Fatal(err)
	}
	h := &healing{table: newToggle(t, table), dynamo: dynamodb.NewFromConfig(cfg), hook: newReceiver(t), want: make(map[ledger.Tenant]map[string]string)}
	if h.aws, err = fakeaws.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.aws.Close)
	h.aws.Objects.MakeBucket("config", true)
	h.aws.Objects.MakeBucket("documents", true)
	t.Setenv("AWS_ACCESS_KEY_ID", "fake")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "fake")
	dir := t.TempDir()
	keys, routes := filepath.Join(dir, "keys"), filepath.Join(dir, "stele.yaml")
	if err := os.Mkdir(keys, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{filepath.Join(keys, "webhook"): "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", routes: h.routes()} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h.cli = program{filepath.Join(dir, "cli.json")}
	h.gateway = startUp(t, filepath.Join(dir, "data"), h.cli.config, "--config", routes, "--sink-keys", keys, "--sink-private-addresses")
	lines := h.read(t, file, filepath.Join(dir, "history.jsonl"))
	begun := time.Now()
	h.cli.run(t, "import", filepath.Join(dir, "history.jsonl"))
	imported := time.Since(begun)
	h.settled(t, 15*time.Minute)
	fmt.Printf("import of %d change sets: %s, all sinks equal after %s; parameters %d, secrets %d, objects %d, events %d, webhooks %d\n", lines, imported.Round(time.Second), time.Since(begun).Round(time.Second),
		len(h.aws.Parameters.Names()), len(h.aws.Secrets.Names()), len(h.aws.Objects.Keys("config")), len(h.aws.Buses.Events()), len(h.hook.events))
	return h
}

func (h *healing) routes() string {
	return fmt.Sprintf(healingRoutes, h.table.URL, h.aws.URL, h.hook.URL)
}

// change sets a key of each kind of every tenant.
func (h *healing) change(t *testing.T) {
	t.Helper()
	h.n++
	for tenant, keys := range h.want {
		for _, key := range []string{"tenantconfig/heal/" + fmt.Sprint(h.n%7), "paramconfig/heal/" + fmt.Sprint(h.n%7)} {
			value := fmt.Sprintf(`"change %d"`, h.n)
			untilUp(t, acting(t, tenant), h.ledger.Commit, &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: key, Value: value}}})
			keys[key] = value
		}
	}
}

func (h *healing) statuses(t *testing.T) map[string]*stelev1.SinkStatus {
	t.Helper()
	out := make(map[string]*stelev1.SinkStatus)
	resp := untilUp(t, t.Context(), stelev1.NewSinksClient(h.conn).ListSinks, &stelev1.ListSinksRequest{})
	for _, st := range resp.Sinks {
		out[st.Name] = st
	}
	return out
}

// settled waits until every sink has everything and equals the ledger.
func (h *healing) settled(t *testing.T, limit time.Duration) {
	t.Helper()
	var why string
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		why = ""
		for name, st := range h.statuses(t) {
			if st.Owner == "" || st.LagRevisions > 0 || st.Pending > 0 || st.Failing != "" || st.Stopped != "" {
				why = name + ": " + st.String()
			}
		}
		if why == "" {
			if why = h.differs(t); why == "" {
				return
			}
		}
	}
	t.Fatalf("not settled after %s: %s", limit, why)
}

// text is what a store of text has for a value, and whether Parameter Store takes it.
func text(value string) (text string, parameter bool) {
	text = value
	if strings.HasPrefix(value, `"`) {
		json.Unmarshal([]byte(value), &text)
	}
	_, after, opens := strings.Cut(text, "{{")
	return text, text != "" && len(text) <= 8192 && !(opens && strings.Contains(after, "}}"))
}

// documents are the settings in a tenant's documents, by sink. One that is not a document has
// none.
func (h *healing) documents(tenant ledger.Tenant) map[string]map[string]json.RawMessage {
	object, _ := h.aws.Objects.Get("documents", string(tenant)+".json")
	configuration, _ := h.aws.AppConfig.Deployed("stele-"+string(tenant), "live", "settings")
	all := make(map[string]map[string]json.RawMessage)
	for sink, text := range map[string][]byte{"documents": object.Body, "appconfig": configuration.Content} {
		var settings map[string]json.RawMessage
		_ = json.Unmarshal(text, &settings) // then it has none
		delete(settings, "$stele")
		all[sink] = settings
	}
	return all
}

// documentsDiffer compares a tenant's documents with the ledger.
func (h *healing) documentsDiffer(tenant ledger.Tenant, keys map[string]string) string {
	for sink, settings := range h.documents(tenant) {
		for key, value := range keys {
			if !strings.HasPrefix(key, "tenantconfig/") {
				continue
			}
			var want, got bytes.Buffer
			if json.Compact(&want, []byte(value)) != nil || json.Compact(&got, settings[key]) != nil || want.String() != got.String() {
				return fmt.Sprintf("the document of %s in %s has for %s %.80q, not %.80q", tenant, sink, key, settings[key], value)
			}
			delete(settings, key)
		}
		if len(settings) > 0 {
			return fmt.Sprintf("the document of %s in %s has %d keys that the ledger does not have", tenant, sink, len(settings))
		}
	}
	return ""
}

// tableDiffers compares the table's items of a tenant with the ledger.
func (h *healing) tableDiffers(t *testing.T, tenant ledger.Tenant, keys map[string]string) string {
	t.Helper()
	want := make(held)
	for key, value := range keys {
		if strings.HasPrefix(key, "tenantconfig/") {
			want[key] = value
		}
	}
	return compare(t, "the table", tenant, tableOf(t, h.dynamo, tenant), want)
}

// differs compares every store, and what the webhook was sent, with the ledger.
func (h *healing) differs(t *testing.T) string {
	t.Helper()
	parameters, secrets, objects := make(map[string]bool), make(map[string]bool), make(map[string]bool)
	for _, n := range h.aws.Parameters.Names() {
		parameters[n] = true
	}
	for _, n := range h.aws.Secrets.Names() {
		secrets[n] = true
	}
	for _, n := range h.aws.Objects.Keys("config") {
		objects[n] = true
	}
	for tenant, keys := range h.want {
		if why := h.documentsDiffer(tenant, keys); why != "" {
			return why
		}
		for key, value := range keys {
			say, parameter := text(value)
			name := "stele/" + string(tenant) + "/" + key
			if strings.HasPrefix(key, "tenantconfig/") {
				if o, ok := h.aws.Objects.Get("config", name); !ok || string(o.Body) != say {
					return fmt.Sprintf("object %s is %.80q, %v, not %.80q", name, o.Body, ok, say)
				}
				delete(objects, name)
				continue
			}
			if v, ok := h.aws.Parameters.Get("/" + name); parameter && (!ok || v.Value != say) {
				return fmt.Sprintf("parameter %s is %.80q, %v, not %.80q", name, v.Value, ok, say)
			}
			if is, ok := h.aws.Secrets.Get(name); say != "" && (!ok || is.Value(fakeaws.Current) != say) {
				return fmt.Sprintf("secret %s is %.80q, %v, not %.80q", name, is.Value(fakeaws.Current), ok, say)
			}
			delete(parameters, "/"+name)
			delete(secrets, name)
		}
	}
	for kind, left := range map[string]map[string]bool{"parameters": parameters, "secrets": secrets, "objects": objects} {
		if len(left) > 0 {
			return fmt.Sprintf("%d %s that the ledger does not have, e.g. %s", len(left), kind, slices.Sorted(maps.Keys(left))[0])
		}
	}
	h.hook.mu.Lock()
	defer h.hook.mu.Unlock()
	for tenant, keys := range h.want {
		for key, value := range keys {
			var a, b bytes.Buffer
			got := h.hook.values[string(tenant)+" "+key]
			if strings.HasPrefix(key, "paramconfig/") { // their route carries no values
				continue
			}
			if json.Compact(&a, []byte(value)) != nil || json.Compact(&b, []byte(got)) != nil || a.String() != b.String() {
				return fmt.Sprintf("the webhook's newest value of %s %s is %.80q, not %.80q", tenant, key, got, value)
			}
		}
		if why := h.tableDiffers(t, tenant, keys); why != "" {
			return why
		}
	}
	return ""
}

var metricsAddress = regexp.MustCompile(`(?m)^  HTTP +(\S+)`)

// metric lists the sinks for which a metric is not 0.
func (h *healing) metric(t *testing.T, name string) []string {
	t.Helper()
	found := metricsAddress.FindSubmatch(h.printed(t))
	if found == nil {
		t.Fatal("the address of the metrics is not printed")
	}
	resp, err := http.Get(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var sinks []string
	for _, m := range regexp.MustCompile(`(?m)^`+name+`\{sink="([a-z0-9]+)"\} [^0]`).FindAllSubmatch(body, -1) {
		sinks = append(sinks, string(m[1]))
	}
	slices.Sort(sinks)
	return sinks
}

// outage has services fail for a while, during which changes come, and then heal.
func (h *healing) outage(t *testing.T, what string, lasts time.Duration, faults fakeaws.Faults, everything bool) {
	t.Helper()
	h.aws.SetFaults(faults)
	h.table.down.Store(everything)
	h.hook.down.Store(everything)
	begun, reported, parked := time.Now(), make(map[string]time.Duration), make(map[string]uint32)
	for name, st := range h.statuses(t) {
		parked[name] = st.Parked
	}
	var metered []string
	for time.Since(begun) < lasts {
		h.change(t)
		for name, st := range h.statuses(t) {
			if st.Failing != "" && reported[name] == 0 {
				reported[name] = time.Since(begun).Round(time.Second)
			}
			if st.Parked > parked[name] {
				t.Fatalf("%s parks what an outage keeps out: %s", name, st.LastError)
			}
		}
		if m := h.metric(t, "stele_sink_failing"); len(m) > len(metered) {
			metered = m
		}
		time.Sleep(time.Second)
	}
	if everything && len(reported) != len(h.statuses(t)) {
		t.Errorf("%s: only %v were reported as failing", what, reported)
	}
	if len(metered) < len(reported) {
		t.Errorf("%s: the metric names %v, and the status %v", what, metered, reported)
	}
	shown := string(h.cli.run(t, "sinks"))
	for name := range h.statuses(t) {
		if everything && !strings.Contains(shown, name+" failing since ") {
			t.Errorf("stele sinks does not show that %s fails:\n%s", name, shown)
		}
	}
	h.aws.SetFaults(fakeaws.Faults{})
	h.table.down.Store(false)
	h.hook.down.Store(false)
	healed := time.Now()
	h.settled(t, 5*time.Minute)
	fmt.Printf("%s for %s with %d changes: reported as failing after %v; equal again %s after its end\n", what, lasts, h.n, reported, time.Since(healed).Round(100*time.Millisecond))
}

// empty deletes everything from the stores. Those whose routes repair are filled again;
// those whose routes adopt stop and wait for a decision.
func (h *healing) empty(t *testing.T) {
	t.Helper()
	parameters, secrets, objects := h.aws.Parameters.Names(), h.aws.Secrets.Names(), h.aws.Objects.Keys("config")
	for _, n := range parameters {
		h.aws.Parameters.Remove(n)
	}
	for _, n := range secrets {
		h.aws.Secrets.Remove(n)
	}
	for _, n := range objects {
		h.aws.Objects.Remove("config", n)
	}
	for _, n := range h.aws.Objects.Keys("documents") {
		h.aws.Objects.Remove("documents", n)
	}
	items := 0
	for tenant := range h.want {
		h.aws.AppConfig.RemoveApplication("stele-" + string(tenant))
		for key := range tableOf(t, h.dynamo, tenant) {
			items++
			if _, err := h.dynamo.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: aws.String("stele-config"), Key: map[string]types.AttributeValue{
				"tenant": &types.AttributeValueMemberS{Value: string(tenant)}, "key": &types.AttributeValueMemberS{Value: key},
			}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	begun := time.Now()
	var stopped time.Duration
	for deadline := time.Now().Add(5 * time.Minute); stopped == 0; time.Sleep(500 * time.Millisecond) {
		st := h.statuses(t)
		if st["parameterstore"].Stopped != "" && st["secretsmanager"].Stopped != "" {
			stopped = time.Since(begun)
		}
		if time.Now().After(deadline) {
			t.Fatalf("the emptied stores do not stop: %v", st)
		}
	}
	if m := h.metric(t, "stele_sink_stopped"); !slices.Equal(m, []string{"parameterstore", "secretsmanager"}) {
		t.Errorf("the metric of stopped sinks names %v", m)
	}
	shown := string(h.cli.run(t, "sinks"))
	for _, sink := range []string{"parameterstore", "secretsmanager"} {
		if !strings.Contains(shown, sink+" is stopped: ") {
			t.Errorf("stele sinks does not show that %s has stopped:\n%s", sink, shown)
		}
		h.cli.run(t, "sinks", "repair", sink, "--yes")
	}
	h.settled(t, 5*time.Minute)
	fmt.Printf("emptied (%d parameters, %d secrets, %d objects, %d items of the table): two sinks stopped after %s; all equal %s after, with a repair of those two\n",
		len(parameters), len(secrets), len(objects), items, stopped.Round(time.Second), time.Since(begun).Round(time.Second))
}
