//go:build faults && history

package systemtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector/fakeaws"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// poison is a key whose events the bus never takes.
const poison = "paramconfig/poison"

// TestProjection_History imports the history in $STELE_HISTORY while the projector is
// killed again and again and the bus fails 30 % of what it gets. At the end every
// sink equals the oracle. Then items are edited by hand, and all edits are seen.
func TestProjection_History(t *testing.T) {
	random := seeded(t)
	kills := number(t, "STELE_FAULTS_KILLS", 100)
	edits := number(t, "STELE_FAULTS_EDITS", 1000)
	s := openSource(t, os.Getenv("STELE_HISTORY"))
	to := startSinks(t)
	to.aws.SetFaults(fakeaws.Faults{FailedEntries: 0.3, Poison: func(e fakeaws.Event) string {
		if strings.Contains(string(e.Detail), poison) {
			return "MalformedDetail"
		}
		return ""
	}})
	c := startCluster(t, 1)
	writer := c.join(t, "ledger,gateway", "--config", to.settings)
	projector := c.join(t, "projector", "--config", to.settings)
	for _, tenant := range s.tenants() {
		untilUp(t, acting(t, tenant), writer.ledger.GetHead, &stelev1.GetHeadRequest{}) // the journal is reached
	}

	var killed atomic.Int64
	begun := time.Now()
	imported := importPaced(t, s, writer.gateway, &killed, kills)
	changed := 0
	for last := 0; int(killed.Load()) < kills; killed.Add(1) {
		time.Sleep(3*time.Second + time.Duration(random.Int64N(int64(3*time.Second)))) // it waits three for the claim
		projector.kill()
		if n := to.proxy.written() + to.aws.Calls("PutParameter") + to.aws.Calls("PutEvents"); n > last {
			last = n
			changed++
		}
		projector.start(t)
	}
	imported()
	fmt.Printf("projector: killed %d times, %d of them since it had written something; the import took until then, %s\n",
		kills, changed, time.Since(begun).Round(time.Second))
	poisoned := poisonTheBus(t, s, writer.gateway)

	settle(t, writer, s)
	fmt.Printf("all sinks have everything %s after the import began; the poisoned event was parked %s after everything else of its tenant\n",
		time.Since(begun).Round(time.Second), poisoned.Round(time.Millisecond))
	checkSinks(t, s, to, writer)
	checkEvents(t, s, to)
	if back := to.wentBack(t); len(back) > 0 {
		t.Errorf("%d writes went backwards, e.g. %s", len(back), back[0])
	}
	editByHand(t, s, to, writer, projector, random, edits)
}

// importPaced sends the history, as many lines at a time as keep it going until the
// last kill. The function that it returns waits for the end.
func importPaced(t *testing.T, s *source, g *gateway, killed *atomic.Int64, kills int) func() {
	t.Helper()
	var sending sync.WaitGroup
	errs := make(chan error, len(s.lines))
	for tenant, lines := range s.lines {
		sending.Go(func() {
			stream, err := g.ledger.CommitStream(acting(t, tenant))
			if err != nil {
				errs <- err
				return
			}
			for i, l := range lines {
				for int64(i)*int64(kills) > (killed.Load()+1)*int64(len(lines)) {
					time.Sleep(10 * time.Millisecond)
				}
				if err := stream.Send(&stelev1.CommitStreamRequest{Commit: l.request()}); err != nil {
					errs <- fmt.Errorf("line %d of %s: %w", i, tenant, err)
					return
				}
				if _, err := stream.Recv(); err != nil {
					errs <- fmt.Errorf("line %d of %s: %w", i, tenant, err)
					return
				}
			}
		})
	}
	return func() {
		t.Helper()
		sending.Wait()
		select {
		case err := <-errs:
			t.Fatal(err)
		default:
		}
	}
}

func (l sourceLine) request() *stelev1.CommitRequest {
	req := &stelev1.CommitRequest{Message: l.Message, Import: &stelev1.Import{Time: timestamppb.New(l.Time), Author: l.Author}}
	for _, ch := range l.Changes {
		c := &stelev1.Change{Key: ch.Key, Delete: ch.Delete}
		if !ch.Delete {
			c.Value = string(ch.Value)
		}
		req.Changes = append(req.Changes, c)
	}
	return req
}

// poisonTheBus commits a key whose event is never taken, and returns how long after
// everything else that was parked.
func poisonTheBus(t *testing.T, s *source, g *gateway) (after time.Duration) {
	t.Helper()
	tenant := s.tenants()[0]
	untilUp(t, acting(t, tenant), g.ledger.Commit, &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: poison, Value: "1"}}})
	sinks := stelev1.NewSinksClient(g.conn)
	var waits time.Time // since when the bus has everything else of the tenant
	for deadline := time.Now().Add(10 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		parked, err := sinks.ListParked(acting(t, tenant), &stelev1.ListParkedRequest{Sink: "bus"})
		if err == nil && slices.ContainsFunc(parked.Parked, func(p *stelev1.Parked) bool { return p.Key == poison }) {
			if !waits.IsZero() {
				after = time.Since(waits)
			}
			if after > time.Minute {
				t.Errorf("the poisoned event was parked %s after the bus had everything else", after)
			}
			return after
		}
		list, err := sinks.ListSinks(acting(t, tenant), &stelev1.ListSinksRequest{})
		if err != nil || !waits.IsZero() {
			continue
		}
		for _, st := range list.Sinks {
			if st.Name == "bus" && st.Owner != "" && st.LagRevisions <= 1 {
				waits = time.Now()
			}
		}
	}
	t.Fatal("the poisoned event is not parked")
	return 0
}

// settle waits until every sink has everything of every tenant.
func settle(t *testing.T, m *member, s *source) {
	t.Helper()
	sinks := stelev1.NewSinksClient(m.conn)
	var last string
	defer func() {
		if t.Failed() {
			t.Log(last)
		}
	}()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		behind := 0
		for _, tenant := range s.tenants() {
			resp, err := sinks.ListSinks(acting(t, tenant), &stelev1.ListSinksRequest{})
			if err != nil {
				behind++
				last = err.Error()
				continue
			}
			for _, st := range resp.Sinks {
				if st.Owner == "" || st.LagRevisions > 0 {
					behind++
					last = st.String()
				}
			}
		}
		if behind == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the sinks do not come to have everything")
		}
	}
}

var particular = regexp.MustCompile(`/stele/\S+|[0-9]+ bytes`)

// parkedKeys are those of a tenant that a sink would reject, with the reasons but
// for what is particular to each.
func parkedKeys(t *testing.T, m *member, tenant ledger.Tenant, sink string) map[string]string {
	t.Helper()
	resp, err := stelev1.NewSinksClient(m.conn).ListParked(acting(t, tenant), &stelev1.ListParkedRequest{Sink: sink})
	if err != nil {
		t.Fatal(err)
	}
	keys := make(map[string]string)
	for _, p := range resp.Parked {
		keys[p.Key] = particular.ReplaceAllString(p.Reason, "...")
	}
	return keys
}

// checkSinks compares the stores with the oracle.
func checkSinks(t *testing.T, s *source, to *sinks, m *member) {
	t.Helper()
	for _, tenant := range s.tenants() {
		oracle := make(held)
		for _, e := range objects[struct {
			Key   string
			Value json.RawMessage
		}](t, output(t, exec.Command("python3", s.oracle, s.file, "--tenant", string(tenant)))) {
			oracle[e.Key] = string(e.Value)
		}
		if tenant == s.tenants()[0] {
			oracle[poison] = "1"
		}
		compareSinks(t, to, m, tenant, oracle)
	}
}

// compareSinks compares the stores with the set keys, except parked ones: for those a
// store may hold an earlier value.
func compareSinks(t *testing.T, to *sinks, m *member, tenant ledger.Tenant, all held) {
	t.Helper()
	for _, c := range []struct {
		sink     string
		got      held
		prefixes []string
	}{
		{"dynamodb", to.inDynamoDB(t, tenant), []string{"tenantconfig/"}},
		{"parameterstore", to.inParameterStore(t, tenant), []string{"paramconfig/"}},
		{"files", to.inFiles(t, tenant), []string{"tenantconfig/", "paramconfig/"}},
	} {
		parked := parkedKeys(t, m, tenant, c.sink)
		want := maps.Clone(all)
		maps.DeleteFunc(want, func(key, _ string) bool {
			return parked[key] != "" || !slices.ContainsFunc(c.prefixes, func(p string) bool { return strings.HasPrefix(key, p) })
		})
		maps.DeleteFunc(c.got, func(key, _ string) bool { return parked[key] != "" })
		if diff := compare(t, c.sink, tenant, c.got, want); diff != "" {
			t.Error(diff)
		}
		reasons := make(map[string]int)
		for _, reason := range parked {
			reasons[reason]++
		}
		fmt.Printf("%s of %s: %d keys are as they should be, %d are parked%s\n", c.sink, tenant, len(want), len(parked), listCounts(reasons))
	}
}

// listCounts lists each text with its count.
func listCounts(counts map[string]int) (text string) {
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		text += fmt.Sprintf("; %d: %s", counts[what], what)
	}
	return text
}

// checkEvents looks for every change of the history among the events.
func checkEvents(t *testing.T, s *source, to *sinks) {
	t.Helper()
	type id struct {
		Tenant   ledger.Tenant
		Revision uint64
		Position int
	}
	arrived := make(map[id]int)
	newest := make(map[string]uint64) // first arrivals of a key come in order
	events := to.aws.Buses.Events()
	for _, e := range events {
		var d struct {
			id
			Key string
		}
		if err := json.Unmarshal(e.Detail, &d); err != nil {
			t.Fatal(err)
		}
		name := string(d.Tenant) + " " + d.Key
		if arrived[d.id]++; arrived[d.id] == 1 {
			if d.Revision < newest[name] {
				t.Errorf("revision %d of %s arrives first after %d", d.Revision, name, newest[name])
			}
			newest[name] = d.Revision
		}
	}
	missing, changes := 0, 0
	for tenant, lines := range s.lines {
		for i, l := range lines {
			for position := range l.Changes {
				changes++
				if arrived[id{tenant, uint64(i + 1), position}] == 0 {
					missing++
				}
			}
		}
	}
	if missing > 0 || len(arrived) != changes {
		t.Errorf("%d of %d changes did not arrive at the bus; %d others did", missing, changes, len(arrived)-changes+missing)
	}
	fmt.Printf("bus: all of %d changes arrived, %d of them again\n", changes, len(events)-changes)
}

// editByHand edits items of all stores, and waits until each edit was seen, and
// repaired or adopted.
func editByHand(t *testing.T, s *source, to *sinks, m, projector *member, random *rand.Rand, edits int) {
	t.Helper()
	before := seenDrift(t, projector)
	adopted := make(map[ledger.Tenant]held) // what the ledger must say of it
	for _, tenant := range s.tenants() {
		adopted[tenant] = make(held)
	}
	begun := time.Now()
	for n := 0; to.edited < edits; n++ { // an item that was edited before is no other one
		tenant := s.tenants()[random.IntN(len(s.tenants()))]
		if n%2 == 0 {
			to.editItem(t, random, tenant, n)
		} else {
			key, value := to.editParameter(t, random, tenant, n)
			adopted[tenant][key] = value
		}
	}
	await(t, "all edits by hand are seen", func() bool { return seenDrift(t, projector)-before >= edits })
	fmt.Printf("edits by hand: %d items, all seen %s after the first\n", edits, time.Since(begun).Round(time.Second))
	settleAdopted(t, s, to, m, adopted)
}

var driftMetric = regexp.MustCompile(`(?m)^stele_sink_drift_total\{kind="\w+",sink="\w+"\} (\d+)`)

// seenDrift is how many items the process has seen to have drifted.
func seenDrift(t *testing.T, m *member) int {
	t.Helper()
	resp, err := http.Get(m.metrics(t))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	n := 0
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if found := driftMetric.FindStringSubmatch(lines.Text()); found != nil {
			count, err := strconv.Atoi(found[1])
			if err != nil {
				t.Fatal(err)
			}
			n += count
		}
	}
	return n
}

var announcedMetrics = regexp.MustCompile(`(?m)^  HTTP +(http://\S+/metrics)`)

func (m *member) metrics(t *testing.T) string {
	t.Helper()
	return string(announcedMetrics.FindSubmatch(m.printed(t))[1])
}

// editItem changes, deletes or plants an item of DynamoDB, or a file of a key that is
// there. All of them are repaired.
func (s *sinks) editItem(t *testing.T, random *rand.Rand, tenant ledger.Tenant, n int) {
	t.Helper()
	keys := slices.Sorted(maps.Keys(s.inDynamoDBOnce(t, tenant)))
	key := keys[random.IntN(len(keys))]
	how := random.IntN(3)
	if how == 2 {
		key = fmt.Sprintf("tenantconfig/foreign/%d", n)
	}
	if !s.first("item", tenant, key) {
		return
	}
	id := map[string]types.AttributeValue{
		"tenant": &types.AttributeValueMemberS{Value: string(tenant)}, "key": &types.AttributeValueMemberS{Value: key},
	}
	var err error
	if how == 1 {
		_, err = s.dynamo.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: aws.String("stele-config"), Key: id})
	} else {
		_, err = s.dynamo.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{
			TableName: aws.String("stele-config"), Key: id, UpdateExpression: aws.String("SET #v = :v, json = :j"),
			ExpressionAttributeNames: map[string]string{"#v": "value"},
			ExpressionAttributeValues: map[string]types.AttributeValue{
				":v": &types.AttributeValueMemberS{Value: "by hand"}, ":j": &types.AttributeValueMemberS{Value: `"by hand"`},
			},
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// editParameter changes, deletes or plants a parameter, and returns its key and what
// it says now, "" when it is gone. All of them are adopted.
func (s *sinks) editParameter(t *testing.T, random *rand.Rand, tenant ledger.Tenant, n int) (key, value string) {
	t.Helper()
	prefix := "/stele/" + string(tenant) + "/"
	names := slices.DeleteFunc(s.aws.Parameters.Names(), func(name string) bool { return !strings.HasPrefix(name, prefix) || s.touched["parameter "+name] })
	how := random.IntN(3)
	name := fmt.Sprintf("%sparamconfig/foreign/%d", prefix, n)
	if how < 2 && len(names) > 0 {
		name = names[random.IntN(len(names))]
	} else {
		how = 2
	}
	s.first("parameter", "", name)
	key = strings.TrimPrefix(name, prefix)
	if how == 1 {
		s.aws.Parameters.Remove(name)
		return key, ""
	}
	text := fmt.Sprintf("by hand %d", n)
	if err := s.aws.Parameters.Edit(name, func(v *fakeaws.Version) { v.Value = text }); err != nil {
		t.Fatal(err)
	}
	return key, strconv.Quote(text)
}

// settleAdopted waits until the ledger says what was adopted, and the stores what the
// ledger says.
func settleAdopted(t *testing.T, s *source, to *sinks, m *member, adopted map[ledger.Tenant]held) {
	t.Helper()
	cc := stelev1.NewConfigClient(m.conn)
	export := func(tenant ledger.Tenant) held {
		all := make(held)
		for token := ""; ; {
			resp := untilUp(t, conn.AsTenant(t.Context(), tenant), cc.List, &stelev1.ListRequest{PageSize: 10_000, PageToken: token})
			for _, e := range resp.Entries {
				all[e.Key] = e.Value
			}
			if token = resp.NextPageToken; token == "" {
				return all
			}
		}
	}
	for tenant, want := range adopted {
		await(t, "what was edited is adopted", func() bool {
			all := export(tenant)
			for key, value := range want {
				if all[key] != value {
					return false
				}
			}
			return true
		})
	}
	settle(t, m, s)
	for _, tenant := range s.tenants() {
		all := export(tenant)
		await(t, "what was edited is repaired", func() bool {
			want := maps.Clone(all)
			maps.DeleteFunc(want, func(key, _ string) bool { return !strings.HasPrefix(key, "tenantconfig/") })
			return compare(t, "dynamodb", tenant, to.inDynamoDB(t, tenant), want) == ""
		})
		compareSinks(t, to, m, tenant, all)
	}
}

// first reports whether an item is touched for the first time, and counts it.
func (s *sinks) first(kind string, tenant ledger.Tenant, name string) bool {
	id := kind + " " + string(tenant) + name
	if s.touched[id] {
		return false
	}
	s.touched[id] = true
	s.edited++
	return true
}

// inDynamoDBOnce is what the table held of the tenant when this was first asked.
func (s *sinks) inDynamoDBOnce(t *testing.T, tenant ledger.Tenant) held {
	t.Helper()
	if s.once[tenant] == nil {
		s.once[tenant] = s.inDynamoDB(t, tenant)
	}
	return s.once[tenant]
}
