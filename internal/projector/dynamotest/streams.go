package dynamotest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

// Streams is a server in front of dynalite, which has no streams, that adds DynamoDB
// Streams to it as AWS documents them: a record for each write that changes an item, shards
// that end and are continued by others, iterators that expire, and records that are trimmed.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html
//
// It knows the writes PutItem, UpdateItem and DeleteItem, and answers other writes with an
// error.
type Streams struct {
	*httptest.Server
	dynalite string
	pass     *httputil.ReverseProxy

	mu      sync.Mutex // guards all below, and lets one write at a time through
	streams map[string]*tableStream
	// expired is the number of Expire calls: iterators from before the last one are expired.
	expired int
	numbers int
	calls   map[string]int
	denied  map[string]bool
}

// tableStream is a table's newest stream.
type tableStream struct {
	table, arn, label, view string
	enabled                 bool
	created                 time.Time
	keys                    []any // the table's KeySchema
	shards                  []*streamShard
}

type streamShard struct {
	id, parent string
	first      int // sequence number
	last       int // 0 while the shard is open
	records    []streamRecord
	trimmed    int // records up to this number are trimmed
}

type streamRecord struct {
	number int
	body   map[string]any
}

// StartStreams starts dynalite with streams for a test.
func StartStreams(tb testing.TB) *Streams {
	tb.Helper()
	dynalite := Start(tb)
	to, err := url.Parse(dynalite)
	if err != nil {
		tb.Fatal(err)
	}
	s := &Streams{dynalite: dynalite, pass: httputil.NewSingleHostReverseProxy(to), streams: make(map[string]*tableStream), calls: make(map[string]int)}
	s.Server = httptest.NewServer(s)
	tb.Cleanup(s.Close)
	return s
}

// Calls is how often an operation was called.
func (s *Streams) Calls(operation string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[operation]
}

// Deny answers operations with an AccessDeniedException from now on.
func (s *Streams) Deny(operations ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied = make(map[string]bool)
	for _, o := range operations {
		s.denied[o] = true
	}
}

// Split ends the open shards of a table's stream. Two new ones continue each.
func (s *Streams) Split(table string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.streams[table]
	for _, sh := range st.shards {
		if sh.last == 0 {
			s.end(sh)
			for range 2 {
				s.addShard(st, sh.id)
			}
		}
	}
}

// Trim removes the records so far, and the shards that ended, as AWS does after 24 hours.
func (s *Streams) Trim(table string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.streams[table]
	var left []*streamShard
	for _, sh := range st.shards {
		if n := len(sh.records); n > 0 {
			sh.records, sh.trimmed = nil, sh.records[n-1].number
		}
		if sh.last == 0 {
			left = append(left, sh)
		}
	}
	st.shards = left
}

// Expire expires all iterators, as AWS does after 15 minutes.
func (s *Streams) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expired++
}

// Disable turns the table's stream off. Its shards end.
func (s *Streams) Disable(table string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.streams[table]
	st.enabled = false
	for _, sh := range st.shards {
		if sh.last == 0 {
			s.end(sh)
		}
	}
}

// Enable turns a stream on: a new one, with shards of its own.
func (s *Streams) Enable(table, view string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enable(table, view)
}

func (s *Streams) enable(table, view string) {
	s.numbers++
	st := &tableStream{table: table, view: view, enabled: true, created: time.Now(), label: fmt.Sprintf("2026-01-01T00:00:00.%03d", s.numbers)}
	st.arn = fmt.Sprintf("arn:aws:dynamodb:us-east-1:123456789012:table/%s/stream/%s", table, st.label)
	s.streams[table] = st
	s.addShard(st, "")
}

func (s *Streams) addShard(st *tableStream, parent string) {
	s.numbers++
	st.shards = append(st.shards, &streamShard{id: fmt.Sprintf("shardId-%020d-%08x", s.numbers, s.numbers), parent: parent, first: s.numbers})
}

func (s *Streams) end(sh *streamShard) {
	s.numbers++
	sh.last = s.numbers
}

// number is a sequence number as AWS writes it: 21 to 40 digits.
func number(n int) string { return fmt.Sprintf("%021d", n) }

// ServeHTTP answers the operations of streams, and passes operations of tables on.
func (s *Streams) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has gone
	}
	service, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	var in map[string]any
	if err := json.Unmarshal(body, &in); err != nil {
		answer(w, nil, &streamError{"SerializationException", err.Error()})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[operation]++
	if s.denied[operation] {
		answer(w, nil, &streamError{"AccessDeniedException", "User is not authorized to perform: dynamodb:" + operation})
		return
	}
	if strings.HasPrefix(service, "DynamoDBStreams") {
		out, err := s.stream(operation, in)
		answer(w, out, err)
		return
	}
	switch operation {
	case "PutItem", "UpdateItem", "DeleteItem":
		s.write(w, r, operation, body, in)
	case "BatchWriteItem", "TransactWriteItems", "ExecuteStatement":
		answer(w, nil, &streamError{"UnknownOperationException", operation + " is not known to the server with streams"})
	case "CreateTable", "UpdateTable", "DescribeTable":
		s.describe(w, r, in)
	default:
		s.forward(w, r, body)
	}
}

func (s *Streams) forward(w http.ResponseWriter, r *http.Request, body []byte) {
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	s.pass.ServeHTTP(w, r)
}

// ask makes another request of the same client.
func (s *Streams) ask(r *http.Request, operation string, in any) (out map[string]any, status int) {
	again := r.Clone(r.Context())
	again.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
	done := httptest.NewRecorder()
	s.forward(done, again, encoded(in))
	_ = json.Unmarshal(done.Body.Bytes(), &out) // an answer that is not JSON has no members
	return out, done.Code
}

// describe adds the stream to what dynalite knows of a table.
func (s *Streams) describe(w http.ResponseWriter, r *http.Request, in map[string]any) {
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	table := tableName(in)
	spec, _ := in["StreamSpecification"].(map[string]any)
	delete(in, "StreamSpecification")
	if st := s.streams[table]; operation == "UpdateTable" && spec != nil {
		on, _ := spec["StreamEnabled"].(bool)
		if on == (st != nil && st.enabled) {
			answer(w, nil, &streamError{"ValidationException", fmt.Sprintf("Table already has stream enabled: %t", on)})
			return
		}
		operation = "DescribeTable"
		in = map[string]any{"TableName": table}
	}
	out, status := s.ask(r, operation, in)
	if view, _ := spec["StreamViewType"].(string); status == http.StatusOK && view != "" {
		s.enable(table, view)
	}
	if st := s.streams[table]; st != nil {
		for _, member := range []string{"Table", "TableDescription"} {
			if is, ok := out[member].(map[string]any); ok {
				st.keys, _ = is["KeySchema"].([]any)
				is["LatestStreamArn"], is["LatestStreamLabel"] = st.arn, st.label
				if st.enabled {
					is["StreamSpecification"] = map[string]any{"StreamEnabled": true, "StreamViewType": st.view}
				}
			}
		}
		if _, ok := out["TableDescription"]; !ok && spec != nil {
			out["TableDescription"] = out["Table"]
		}
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.WriteHeader(status)
	w.Write(encoded(out))
}

// tableName is the table of a request, which may name its ARN.
func tableName(in map[string]any) string {
	name, _ := in["TableName"].(string)
	return name[strings.LastIndex(name, "/")+1:]
}

// write passes a write on, and adds a record if it has changed the item.
func (s *Streams) write(w http.ResponseWriter, r *http.Request, operation string, body []byte, in map[string]any) {
	st := s.streams[tableName(in)]
	if st == nil || !st.enabled {
		s.forward(w, r, body)
		return
	}
	key, _ := in["Key"].(map[string]any)
	if item, ok := in["Item"].(map[string]any); ok {
		key = make(map[string]any)
		for _, k := range st.keys {
			name, _ := k.(map[string]any)["AttributeName"].(string)
			key[name] = item[name]
		}
	}
	get := func() map[string]any {
		out, _ := s.ask(r, "GetItem", map[string]any{"TableName": in["TableName"], "Key": key, "ConsistentRead": true})
		item, _ := out["Item"].(map[string]any)
		return item
	}
	target := r.Header.Get("X-Amz-Target")
	before := get()
	done := httptest.NewRecorder()
	write := r.Clone(r.Context())
	write.Header.Set("X-Amz-Target", target)
	s.forward(done, write, body)
	if after := get(); done.Code == http.StatusOK && !reflect.DeepEqual(before, after) {
		s.record(st, key, before, after)
	}
	w.Header().Set("Content-Type", done.Header().Get("Content-Type"))
	w.WriteHeader(done.Code)
	w.Write(done.Body.Bytes())
}

// record adds a record to the open shard of the item's partition.
func (s *Streams) record(st *tableStream, key, before, after map[string]any) {
	var open []*streamShard
	for _, sh := range st.shards {
		if sh.last == 0 {
			open = append(open, sh)
		}
	}
	sum := 0
	for _, b := range fmt.Sprint(key) {
		sum += int(b)
	}
	sh := open[sum%len(open)]
	s.numbers++
	change := map[string]any{
		"ApproximateCreationDateTime": time.Now().Unix(), "Keys": key, "SequenceNumber": number(s.numbers), "SizeBytes": 1, "StreamViewType": st.view,
	}
	if before != nil && strings.Contains(st.view, "OLD") {
		change["OldImage"] = before
	}
	if after != nil && strings.Contains(st.view, "NEW") {
		change["NewImage"] = after
	}
	name := "MODIFY"
	switch {
	case before == nil:
		name = "INSERT"
	case after == nil:
		name = "REMOVE"
	}
	sh.records = append(sh.records, streamRecord{s.numbers, map[string]any{
		"awsRegion": "us-east-1", "dynamodb": change, "eventID": number(s.numbers), "eventName": name, "eventSource": "aws:dynamodb", "eventVersion": "1.1",
	}})
}

// streamError is an error as AWS answers it.
type streamError struct {
	Code    string `json:"__type"`
	Message string `json:"message"`
}

func (e *streamError) Error() string { return e.Code + ": " + e.Message }

func answer(w http.ResponseWriter, out any, err error) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		out = err
	}
	w.Write(encoded(out))
}

// stream answers an operation of streams.
func (s *Streams) stream(operation string, in map[string]any) (any, error) {
	switch operation {
	case "DescribeStream":
		return s.describeStream(in)
	case "GetShardIterator":
		return s.getShardIterator(in)
	case "GetRecords":
		return s.getRecords(in)
	}
	return nil, &streamError{"UnknownOperationException", operation}
}

func (s *Streams) find(arn any) (*tableStream, error) {
	for _, st := range s.streams {
		if st.arn == arn {
			return st, nil
		}
	}
	return nil, &streamError{"ResourceNotFoundException", fmt.Sprintf("Requested resource not found: Stream: %v not found", arn)}
}

// maxShards is how many shards DescribeStream lists at a time; AWS lists 100.
const maxShards = 2

func (s *Streams) describeStream(in map[string]any) (any, error) {
	st, err := s.find(in["StreamArn"])
	if err != nil {
		return nil, err
	}
	status := "ENABLED"
	if !st.enabled {
		status = "DISABLED"
	}
	out := map[string]any{
		"StreamArn": st.arn, "StreamLabel": st.label, "StreamStatus": status, "StreamViewType": st.view, "TableName": st.table,
		"KeySchema": st.keys, "CreationRequestDateTime": st.created.Unix(),
	}
	shards := []any{}
	begun := in["ExclusiveStartShardId"] == nil
	for i, sh := range st.shards {
		if !begun {
			begun = sh.id == in["ExclusiveStartShardId"]
			continue
		}
		is := map[string]any{"ShardId": sh.id}
		if sh.parent != "" {
			is["ParentShardId"] = sh.parent
		}
		sequences := map[string]any{"StartingSequenceNumber": number(sh.first)}
		if sh.last > 0 {
			sequences["EndingSequenceNumber"] = number(sh.last)
		}
		is["SequenceNumberRange"] = sequences
		if shards = append(shards, is); len(shards) == maxShards && i < len(st.shards)-1 {
			out["LastEvaluatedShardId"] = sh.id
			break
		}
	}
	out["Shards"] = shards
	return map[string]any{"StreamDescription": out}, nil
}

// iterator is a place in a shard, before the record with the number or the next one after it.
type iterator struct {
	Stream, Shard string
	Number        int
	Expired       int
}

func (s *Streams) encode(it iterator) string {
	it.Expired = s.expired
	return base64.StdEncoding.EncodeToString(encoded(it))
}

// encoded is a value as JSON. All values here come from JSON, or are of types that can be
// encoded.
func encoded(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

func (st *tableStream) shard(id any) (*streamShard, error) {
	for _, sh := range st.shards {
		if sh.id == id {
			return sh, nil
		}
	}
	return nil, &streamError{"ResourceNotFoundException", fmt.Sprintf("Requested resource not found: Shard: %v not found", id)}
}

func (s *Streams) getShardIterator(in map[string]any) (any, error) {
	st, err := s.find(in["StreamArn"])
	if err != nil {
		return nil, err
	}
	sh, err := st.shard(in["ShardId"])
	if err != nil {
		return nil, err
	}
	it := iterator{Stream: st.arn, Shard: sh.id}
	sequence, _ := in["SequenceNumber"].(string)
	var at int
	fmt.Sscanf(strings.TrimLeft(sequence, "0"), "%d", &at)
	switch kind := in["ShardIteratorType"]; kind {
	case "TRIM_HORIZON":
		it.Number = max(sh.trimmed+1, sh.first)
	case "LATEST":
		it.Number = s.numbers + 1
	case "AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER":
		if at <= sh.trimmed {
			return nil, &streamError{"TrimmedDataAccessException", "The sequence number is beyond the trim horizon"}
		}
		if it.Number = at; kind == "AFTER_SEQUENCE_NUMBER" {
			it.Number++
		}
	default:
		return nil, &streamError{"ValidationException", fmt.Sprintf("Invalid ShardIteratorType: %v", kind)}
	}
	return map[string]any{"ShardIterator": s.encode(it)}, nil
}

func (s *Streams) getRecords(in map[string]any) (any, error) {
	encoded, _ := in["ShardIterator"].(string)
	text, err := base64.StdEncoding.DecodeString(encoded)
	var it iterator
	if err != nil || json.Unmarshal(text, &it) != nil {
		return nil, &streamError{"ValidationException", "Invalid ShardIterator"}
	}
	if it.Expired < s.expired {
		return nil, &streamError{"ExpiredIteratorException", "The shard iterator has expired"}
	}
	st, err := s.find(it.Stream)
	if err != nil {
		return nil, err
	}
	sh, err := st.shard(it.Shard)
	if err != nil {
		return nil, err
	}
	if it.Number <= sh.trimmed {
		return nil, &streamError{"TrimmedDataAccessException", "The shard iterator is beyond the trim horizon"}
	}
	records := []any{}
	next := it.Number
	for _, r := range sh.records {
		if r.number >= it.Number {
			records = append(records, r.body)
			next = r.number + 1
		}
	}
	out := map[string]any{"Records": records}
	if sh.last == 0 {
		it.Number = next
		out["NextShardIterator"] = s.encode(it)
	}
	return out, nil
}
