package node_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// world is a whole process, and tenants in it whose data others are after.
type world struct {
	conn    *grpc.ClientConn
	ledger  stelev1.LedgerClient
	config  stelev1.ConfigClient
	signer  *identity.Signer
	owner   map[ledger.Tenant]context.Context // of each victim
	methods []*method
	weights []int // of the methods
	pool    *pool
	ids     [][]byte // of the victims' commits
}

// method is one that is served.
type method struct {
	name string
	desc protoreflect.MethodDescriptor
}

const (
	// hidden is in all that another tenant must not learn, and closed in what the
	// tenant's own callers must not learn whose prefix is openPrefix. Nothing that is
	// asked for holds them as they are.
	hidden = "hidden-77ab"
	closed = "closed-93cd"

	openPrefix  = "open/"
	ownerName   = "owner-" + hidden
	insiderName = "insider"
)

// twins are two keys, of which the victim has set one. No other caller sets them.
var twins = [2]string{"private/twin/there", "private/twin/never"}

func startWorld(t *testing.T) *world {
	t.Helper()
	signer, err := identity.OpenSigner(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := identity.NewVerifier(identity.Config{Keys: signer.Keys(), Issuer: identity.LocalIssuer, Audience: identity.LocalAudience})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	n, err := node.Start(t.Context(), node.Config{
		Data: dir, Listen: "127.0.0.1:0", HTTP: "127.0.0.1:0", Roles: node.Roles,
		CheckpointKey: dir + "/checkpoint.key", Routes: node.LocalRoutes(), Verifier: verifier, Reflection: true, Version: "test", Log: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- n.Run(ctx) }()
	w := &world{signer: signer}
	w.conn, err = grpc.NewClient(n.GRPC(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)))
	if err != nil {
		t.Fatal(err)
	}
	w.ledger, w.config = stelev1.NewLedgerClient(w.conn), stelev1.NewConfigClient(w.conn)
	w.findMethods(t)
	owner := func(v ledger.Tenant) context.Context {
		return w.as(t, identity.Claims{Subject: ownerName, Tenant: v, Roles: []identity.Role{identity.Admin}})
	}
	w.owner = map[ledger.Tenant]context.Context{victims[0]: owner(victims[0]), victims[1]: owner(victims[1])}
	w.pool = newPool()
	w.setPolicies(t)
	for _, v := range victims {
		w.fill(t, v)
		w.harvest(t, v)
	}

	var writing sync.WaitGroup // so that watches have something to miss
	writing.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			next := hiddenCommit(first + i%first)
			next.RequestId = ""    // a repeated one would get the first one's outcome
			next.AllowEmpty = true // a hidden value that is left out would leave a commit that is not hidden
			if _, err := w.ledger.Commit(w.owner[victims[i%len(victims)]], next); err != nil && ctx.Err() == nil {
				t.Errorf("the owner's own writes: %v", err)
				return
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		writing.Wait()
		w.conn.Close()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
	return w
}

// as is a context of calls with a token of these claims.
func (w *world) as(t *testing.T, c identity.Claims) context.Context {
	t.Helper()
	c.TTL = 24 * time.Hour
	token, err := w.signer.Mint(c)
	if err != nil {
		t.Fatal(err)
	}
	return metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+token)
}

// seldom are methods that cost the process much, out of a hundred calls of others.
var seldom = map[protoreflect.Name]int{"Watch": 30, "SyncFlags": 30, "GetMetadata": 10, "Replay": 30, "CheckDrift": 30, "CommitStream": 20, "ListReads": 20, "Commit": 30, "Follow": 30}

// findMethods asks the process which methods it serves. A new one is called like the
// others.
func (w *world) findMethods(t *testing.T) {
	t.Helper()
	stream, err := reflectionv1.NewServerReflectionClient(w.conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	resp, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range resp.GetListServicesResponse().Service {
		if strings.HasPrefix(s.Name, "grpc.") {
			continue // reveals nothing of any tenant
		}
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(s.Name))
		if err != nil {
			t.Fatal(err)
		}
		methods := d.(protoreflect.ServiceDescriptor).Methods()
		for i := range methods.Len() {
			m := methods.Get(i)
			weight, few := seldom[m.Name()]
			if !few {
				weight = 100
			}
			w.methods = append(w.methods, &method{fmt.Sprintf("/%s/%s", s.Name, m.Name()), m})
			w.weights = append(w.weights, weight)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Fatal(err)
	}
}

// hiddenCommit is what the owner writes: values, keys, message and id are not for
// others, and only some of it for those inside.
func hiddenCommit(i int) *stelev1.CommitRequest {
	req := &stelev1.CommitRequest{
		Message: fmt.Sprintf("%s %s %d", hidden, closed, i),
		Changes: []*stelev1.Change{
			{Key: fmt.Sprintf("private/%s-%s/%d", hidden, closed, i), Value: fmt.Sprintf(`{"secret":"%s %s","n":%d}`, hidden, closed, i)},
		},
		RequestId: fmt.Sprintf("id-%s-%s-%d", hidden, closed, i),
	}
	if i%2 == 1 {
		req.Changes = append(req.Changes, &stelev1.Change{Key: openPrefix + "known", Value: fmt.Sprintf(`"%s %d"`, hidden, i)})
	}
	return req
}

// first is how many of them exist before the first call.
const first = 20

// setPolicies makes grants for one of the victims, has some reads recorded, and gives
// the attackers data of their own.
func (w *world) setPolicies(t *testing.T) {
	t.Helper()
	operator := w.as(t, identity.Claims{Subject: "operator", Tenant: ledger.System, Roles: []identity.Role{identity.Operator}})
	req := &stelev1.CommitRequest{Changes: []*stelev1.Change{
		{Key: fmt.Sprintf("policy/%s/grants", victims[1]), Value: fmt.Sprintf(`{"grants":[{"subjects":["owner-*"]},{"subjects":["%s*"],"prefixes":["%s"]}]}`, insiderName, openPrefix)},
		{Key: fmt.Sprintf("policy/%s/reads", thief), Value: `{"record":["tenantconfig/"]}`},
	}}
	for _, v := range victims {
		req.Changes = append(req.Changes, &stelev1.Change{Key: fmt.Sprintf("policy/%s/reads", v), Value: `{"record":["private/twin"]}`})
	}
	w.commit(t, operator, req)
	theirs := w.as(t, identity.Claims{Subject: "thief", Tenant: thief, Roles: []identity.Role{identity.Writer}})
	for i := range first {
		w.commit(t, theirs, &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: "tenantconfig/a", Value: fmt.Sprint(i)}, {Key: openPrefix + "mine", Value: "1"}, {Key: sampleKey, Value: "1"}}})
	}
}

// fill gives a victim a history, a parked key and recorded reads.
func (w *world) fill(t *testing.T, victim ledger.Tenant) {
	t.Helper()
	owner := w.owner[victim]
	for i := range first {
		w.commit(t, owner, hiddenCommit(i))
	}
	known := &stelev1.CommitRequest{Message: hidden + closed}
	for _, k := range append([]string{twins[0]}, knownKeys...) {
		value := hidden
		if !strings.HasPrefix(k, openPrefix) {
			value += closed
		}
		known.Changes = append(known.Changes, &stelev1.Change{Key: k, Value: fmt.Sprintf("%q", value)})
	}
	w.commit(t, owner, known)
	// A file cannot be a folder.
	w.commit(t, owner, &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: "private/file", Value: "1"}}})
	sinks := stelev1.NewSinksClient(w.conn)
	until(t, "a sink with what was written", func() bool {
		resp, err := sinks.ListSinks(owner, &stelev1.ListSinksRequest{})
		return err == nil && resp.Sinks[0].Owner != "" && resp.Sinks[0].Position >= 22
	})
	w.commit(t, owner, &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: "private/file/" + hidden + closed, Value: "1"}}})
	until(t, "a parked key", func() bool {
		resp, err := sinks.ListParked(owner, &stelev1.ListParkedRequest{Sink: "files"})
		return err == nil && len(resp.Parked) == 1
	})
	w.commit(t, owner, &stelev1.CommitRequest{AllowInvalid: true, Changes: []*stelev1.Change{
		{Key: "_schema/private/known", Value: fmt.Sprintf(`{"$comment":"%s %s","type":"integer"}`, hidden, closed)},
	}})
	for range 3 {
		if _, err := w.config.BatchGet(owner, &stelev1.BatchGetRequest{Keys: []string{twins[0], "private/twin/" + hidden + closed}}); err != nil {
			t.Fatal(err)
		}
	}
}

// harvest collects what the victim's own answers hold that one could send.
func (w *world) harvest(t *testing.T, victim ledger.Tenant) {
	t.Helper()
	p, owner := w.pool, w.owner[victim]
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	list, err := w.config.List(owner, &stelev1.ListRequest{PageSize: 3})
	must(err)
	blame, err := w.ledger.Blame(owner, &stelev1.BlameRequest{PageSize: 3})
	must(err)
	diff, err := w.ledger.Diff(owner, &stelev1.DiffRequest{From: &stelev1.At{Point: &stelev1.At_Revision{}}, PageSize: 3})
	must(err)
	reads, err := w.ledger.ListReads(owner, &stelev1.ListReadsRequest{PageSize: 1})
	must(err)
	log, err := w.ledger.ListCommits(owner, &stelev1.ListCommitsRequest{PageSize: 15, Encoded: true})
	must(err)
	checkpoint, err := stelev1.NewProofClient(w.conn).GetCheckpoint(owner, &stelev1.GetCheckpointRequest{CoversRevision: 20})
	must(err)
	tokens := []string{list.NextPageToken, blame.NextPageToken, diff.NextPageToken, reads.NextPageToken, log.NextPageToken}
	if slices.Contains(tokens, "") {
		t.Fatalf("some listing of the victim has one page only: %q", tokens)
	}
	p.tokens = append(p.tokens, tokens...)
	p.junk = append(p.junk, checkpoint.Checkpoint, string(victim), string(victim)+"/"+knownKeys[0], "../"+string(victim), "stele.reads.v1."+string(victim))
	for _, info := range log.Commits {
		w.ids = append(w.ids, info.Id)
		p.bytes = append(p.bytes, info.Id, info.Id[:4], info.Encoded)
		p.junk = append(p.junk, hex.EncodeToString(info.Id))
	}
}

// attacker is a caller, and the data that it must not see.
type attacker struct {
	name    string
	ctx     context.Context
	secrets []string
	ids     [][]byte
}

// thieves are callers of another tenant, and of the victim's own with a prefix.
func (w *world) thieves(t *testing.T) (all []*attacker) {
	t.Helper()
	every := []identity.Role{identity.Reader, identity.Writer, identity.Admin, identity.Auditor}
	add := func(c identity.Claims, secrets []string, ids [][]byte) {
		c.Subject = fmt.Sprintf("%s-%d", c.Subject, len(all))
		all = append(all, &attacker{fmt.Sprintf("%s %v %q", c.Subject, c.Roles, c.Prefixes), w.as(t, c), secrets, ids})
	}
	others := []string{hidden, closed, victimName}
	for _, roles := range [][]identity.Role{{}, {identity.Reader}, {identity.Writer}, {identity.Auditor}, {identity.Admin}, every, every} {
		add(identity.Claims{Subject: "thief", Tenant: thief, Roles: roles}, others, w.ids)
	}
	add(identity.Claims{Subject: "thief", Tenant: thief, Roles: every, Prefixes: []ledger.Pattern{"private/", "tenantconfig/"}}, others, w.ids)
	for _, roles := range [][]identity.Role{{identity.Reader}, {identity.Admin}, every} {
		add(identity.Claims{Subject: insiderName, Tenant: victims[0], Roles: roles, Prefixes: []ledger.Pattern{openPrefix}}, []string{closed}, nil)
		add(identity.Claims{Subject: insiderName, Tenant: victims[1], Roles: roles}, []string{closed}, nil)
	}
	add(identity.Claims{Subject: ownerName + "-limited", Tenant: victims[1], Roles: every, Prefixes: []ledger.Pattern{openPrefix}}, []string{closed}, nil)
	return all
}

// owners are callers with access to all of it.
func (w *world) owners() (all []*attacker) {
	for _, v := range victims {
		all = append(all, &attacker{"the owner of " + string(v), w.owner[v], []string{hidden, closed}, nil})
	}
	return all
}

// search finds forbidden data in the answers, unless it was in the request. The proofs
// are made of the ids of all commits, which are hashes.
func (a *attacker) search(m *method, sent, came [][]byte) string {
	in := func(all [][]byte, what []byte) bool {
		return slices.ContainsFunc(all, func(b []byte) bool { return bytes.Contains(b, what) })
	}
	if m.name == stelev1.Ledger_ListReads_FullMethodName {
		came = withoutOwnQuestions(came)
	}
	for _, s := range a.secrets {
		if in(came, []byte(s)) && !in(sent, []byte(s)) {
			return s
		}
	}
	if strings.HasPrefix(m.name, "/stele.v1.Proof/") {
		return ""
	}
	for _, id := range a.ids {
		if in(came, id) && !in(sent, id) {
			return hex.EncodeToString(id)
		}
	}
	return ""
}

// withoutOwnQuestions removes from the records of the thieves' own reads what they have asked
// for, which can name a victim.
func withoutOwnQuestions(came [][]byte) [][]byte {
	out := slices.Clone(came)
	for i, b := range out {
		var reads stelev1.ListReadsResponse
		if proto.Unmarshal(b, &reads) != nil {
			continue
		}
		for _, r := range reads.Reads {
			if r.Tenant == string(thief) {
				r.Keys, r.Prefixes = nil, nil
			}
		}
		if rest, err := proto.Marshal(&reads); err == nil {
			out[i] = rest
		}
	}
	return out
}

// opened are the strings of a message that are encoded, as page tokens are, decoded.
func opened(m protoreflect.Message) (out [][]byte) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				out = append(out, opened(v.List().Get(i).Message())...)
			}
		case f.IsList():
		case f.Message() != nil:
			out = append(out, opened(v.Message())...)
		case f.Kind() == protoreflect.StringKind && strings.Contains(string(f.Name()), "token"):
			if b, err := base64.RawURLEncoding.DecodeString(v.String()); err == nil {
				out = append(out, b)
			}
		}
		return true
	})
	return out
}
