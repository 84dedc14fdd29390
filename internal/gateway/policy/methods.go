package policy

import (
	"slices"
	"strings"

	"github.com/stelehq/stele/internal/gateway/flagd"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/schema"
	"github.com/stelehq/stele/schemas/configuration"
	syncv1 "github.com/stelehq/stele/schemas/flagd/sync/v1"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/proto"
)

// Method is a row of the table of methods: the permission that the method needs, and every
// other rule that depends on the method. Permission checks, recorded reads, quotas, the start-up
// of the request validator and docs/access.md read it.
type Method struct {
	// Name on the wire, for example /stele.v1.Config/Get.
	Name string
	// Needs is the permission that the caller needs.
	Needs Need
	// Limits is the restriction of a caller that is limited to prefixes.
	Limits Limits
	// Writes is set if the method can make a commit.
	Writes bool
	// Records is the part of a request that becomes a recorded read.
	Records Records
	// Stream is set if the method is a stream.
	Stream bool
	// AdmittedByHandler is set if the handler calls Admit for each request, because it
	// answers a refused request and continues, or reads the request's headers first.
	AdmittedByHandler bool
	// OfNoTenant is set if the answer describes the process, the caller or all tenants.
	// An operator's call is then not recorded for the tenant that it names.
	OfNoTenant bool
	// Core is set if the call needs a process that has the journal: for the write path, the
	// tree, recorded reads or sinks. An edge sends it to its upstream.
	Core bool
	// Fallback is set if a sink can answer for a tenant that the gateway does not hold.
	Fallback bool

	// Request is an empty request, nil for methods that need no token.
	Request proto.Message
	touches func(proto.Message) Touched
}

// Limits is the restriction of a caller that is limited to prefixes.
type Limits int

const (
	// NamedKeys: every key and prefix that the request names must be inside.
	NamedKeys Limits = iota + 1
	// OwnPart: the answer contains only what concerns keys inside.
	OwnPart
	// NoKeys: the answer concerns no key.
	NoKeys
	// AllKeys: only callers without limits are allowed.
	AllKeys
)

func (l Limits) String() string {
	switch l {
	case NamedKeys:
		return "the keys that it names"
	case OwnPart:
		return "its part of the answer"
	case NoKeys:
		return "no keys"
	}
	return "all keys"
}

// Records is the part of a request that becomes a recorded read.
type Records int

const (
	// RecordsNothing: the answer contains nothing of any key, or a commit is the record.
	RecordsNothing Records = iota + 1
	// RecordsReads: the keys that the request reads.
	RecordsReads
	// RecordsOther: Touched.Recorded, because the answer depends on other keys.
	RecordsOther
	// RecordsEverything: a read of all keys.
	RecordsEverything
	// RecordedByHandler: the handler knows which keys the answer depends on.
	RecordedByHandler
)

func (r Records) String() string {
	switch r {
	case RecordsNothing:
		return "nothing"
	case RecordsReads:
		return "the keys that it reads"
	case RecordsOther:
		return "what the answer depends on"
	case RecordsEverything:
		return "a read of all keys"
	}
	return "the keys of the answer"
}

// Touched are the keys and prefixes that a request touches, by the operation that the
// caller needs on them.
type Touched struct {
	Reads, Writes, Administers Keys
	// Reveals reports that the request asks for the secrets among the keys that it
	// reads.
	Reveals bool
	// Commits, by revision: the caller must be allowed to read and write all that they
	// changed. AtLeast is the revision that the caller has seen.
	Commits []uint64
	AtLeast uint64
	// Recorded is the record of a method with RecordsOther.
	Recorded Keys
}

// Keys is a set of keys and prefixes.
type Keys struct {
	One      string // a single key costs no slice
	Keys     []string
	Prefixes []string
}

var everyKey = Keys{Prefixes: []string{""}}

func (k Keys) empty() bool { return k.One == "" && len(k.Keys)+len(k.Prefixes) == 0 }

// list is all keys of the set, without its prefixes.
func (k Keys) list() []string {
	if k.One == "" {
		return k.Keys
	}
	return append([]string{k.One}, k.Keys...)
}

func under(prefix string) Keys { return Keys{Prefixes: []string{prefix}} }

// row makes a row whose requests are of type R.
func row[M any, R interface {
	*M
	proto.Message
}](name string, m Method, touches func(R) Touched) *Method {
	m.Name, m.Request = name, R(new(M))
	m.touches = func(req proto.Message) Touched { return touches(req.(R)) }
	return &m
}

// named are names, of which those that end with "/" are prefixes.
func named(names ...string) (k Keys) {
	for _, n := range names {
		if strings.HasSuffix(n, "/") {
			k.Prefixes = append(k.Prefixes, n)
		} else {
			k.Keys = append(k.Keys, n)
		}
	}
	return k
}

// nothing is for methods whose requests name no key.
func nothing[R any](R) (t Touched) { return t }

// Methods is the table. A method without a row is refused to every caller.
var Methods = index(
	row(stelev1.Config_Get_FullMethodName, Method{Needs: Read, Limits: NamedKeys, Records: RecordsReads, Fallback: true},
		func(r *stelev1.GetRequest) Touched { return Touched{Reads: Keys{One: r.Key}, Reveals: r.Reveal} }),
	row(stelev1.Config_BatchGet_FullMethodName, Method{Needs: Read, Limits: NamedKeys, Records: RecordsReads, Fallback: true},
		func(r *stelev1.BatchGetRequest) Touched { return Touched{Reads: Keys{Keys: r.Keys}, Reveals: r.Reveal} }),
	row(stelev1.Config_List_FullMethodName, Method{Needs: Read, Limits: NamedKeys, Records: RecordsReads},
		func(r *stelev1.ListRequest) Touched { return Touched{Reads: under(r.Prefix), Reveals: r.Reveal} }),
	row(stelev1.Config_Search_FullMethodName, Method{Needs: Read, Limits: NamedKeys, Records: RecordsReads},
		func(r *stelev1.SearchRequest) Touched { return Touched{Reads: under(r.Prefix)} }),
	row(stelev1.Config_Read_FullMethodName, Method{Needs: Read, Limits: NamedKeys, Records: RecordsReads, Stream: true, AdmittedByHandler: true},
		func(r *stelev1.ReadRequest) Touched { return Touched{Reads: Keys{Keys: r.Keys}, Reveals: r.Reveal} }),
	row(stelev1.Config_Watch_FullMethodName, Method{Needs: Read, Limits: NamedKeys, Records: RecordsReads, Stream: true, AdmittedByHandler: true},
		func(r *stelev1.WatchRequest) Touched {
			return Touched{Reads: Keys{Keys: r.GetCreate().GetKeys(), Prefixes: r.GetCreate().GetPrefixes()}}
		}),

	row(stelev1.Ledger_Commit_FullMethodName, Method{Needs: Write, Limits: NamedKeys, Writes: true, Records: RecordsNothing}, commit),
	row(stelev1.Ledger_CommitStream_FullMethodName, Method{Needs: Write, Limits: NamedKeys, Writes: true, Records: RecordsNothing, Stream: true},
		func(r *stelev1.CommitStreamRequest) Touched { return commit(r.Commit) }),
	row(stelev1.Ledger_Plan_FullMethodName, Method{Needs: Write, Limits: NamedKeys, Records: RecordsOther, Core: true}, plan),
	row(stelev1.Ledger_GetCommit_FullMethodName, Method{Needs: Read, Limits: OwnPart, Records: RecordsEverything}, nothing[*stelev1.GetCommitRequest]),
	row(stelev1.Ledger_ListCommits_FullMethodName, Method{Needs: Read, Limits: OwnPart, Records: RecordsOther}, listCommits),
	row(stelev1.Ledger_Diff_FullMethodName, Method{Needs: Read, Limits: NamedKeys, Records: RecordsReads},
		func(r *stelev1.DiffRequest) Touched { return Touched{Reads: under(r.Prefix)} }),
	row(stelev1.Ledger_Blame_FullMethodName, Method{Needs: Read, Limits: NamedKeys, Records: RecordsReads},
		func(r *stelev1.BlameRequest) Touched { return Touched{Reads: under(r.Prefix)} }),
	row(stelev1.Ledger_Rollback_FullMethodName, Method{Needs: Write, Limits: NamedKeys, Writes: true, Records: RecordsOther}, rollback),
	row(stelev1.Ledger_Revert_FullMethodName, Method{Needs: Write, Limits: NamedKeys, Writes: true, Records: RecordsOther},
		func(r *stelev1.RevertRequest) Touched {
			t := Touched{Commits: r.Revisions, AtLeast: max(r.MinRevision, r.GetExpectedHead())}
			if r.DryRun { // else the commit is the record
				t.Recorded = everyKey
			}
			return t
		}),
	row(stelev1.Ledger_Copy_FullMethodName, Method{Needs: Write, Limits: NamedKeys, Writes: true, Records: RecordsOther}, copyKeys),
	row(stelev1.Ledger_CountCommits_FullMethodName, Method{Needs: Read, Limits: NoKeys, Records: RecordsNothing}, nothing[*stelev1.CountCommitsRequest]),
	row(stelev1.Ledger_GetHead_FullMethodName, Method{Needs: Read, Limits: NoKeys, Records: RecordsNothing}, nothing[*stelev1.GetHeadRequest]),
	row(stelev1.Ledger_ListReads_FullMethodName, Method{Needs: Audit, Limits: OwnPart, Records: RecordsNothing, Core: true}, nothing[*stelev1.ListReadsRequest]),
	row(stelev1.Ledger_ListAllCommits_FullMethodName, Method{Needs: OperatorOnly, Limits: AllKeys, Records: RecordedByHandler, OfNoTenant: true}, nothing[*stelev1.ListAllCommitsRequest]),
	row(stelev1.Ledger_WatchAllCommits_FullMethodName, Method{Needs: OperatorOnly, Limits: AllKeys, Records: RecordedByHandler, Stream: true, OfNoTenant: true}, nothing[*stelev1.WatchAllCommitsRequest]),
	row(stelev1.Ledger_ListTenants_FullMethodName, Method{Needs: OperatorOnly, Limits: NoKeys, Records: RecordsNothing, OfNoTenant: true}, nothing[*stelev1.ListTenantsRequest]),
	row(stelev1.Ledger_ShredTenant_FullMethodName, Method{Needs: OperatorOnly, Limits: AllKeys, Records: RecordsNothing, Core: true}, nothing[*stelev1.ShredTenantRequest]),
	row(stelev1.Ledger_RotateTenantKey_FullMethodName, Method{Needs: OperatorOnly, Limits: AllKeys, Records: RecordsNothing, Core: true}, nothing[*stelev1.RotateTenantKeyRequest]),
	row(stelev1.Ledger_ResetTenantClock_FullMethodName, Method{Needs: OperatorOnly, Limits: AllKeys, Records: RecordsNothing, Core: true}, nothing[*stelev1.ResetTenantClockRequest]),
	row(stelev1.Ledger_GetStatus_FullMethodName, Method{Needs: Authenticated, Limits: NoKeys, Records: RecordsNothing, OfNoTenant: true}, nothing[*stelev1.GetStatusRequest]),
	row(stelev1.Ledger_ListGateways_FullMethodName, Method{Needs: OperatorOnly, Limits: NoKeys, Records: RecordsNothing, OfNoTenant: true, Core: true}, nothing[*stelev1.ListGatewaysRequest]),
	row(stelev1.Ledger_CheckAccess_FullMethodName, Method{Needs: Authenticated, Limits: NoKeys, Records: RecordsNothing, OfNoTenant: true}, nothing[*stelev1.CheckAccessRequest]),

	row(stelev1.Proof_GetCheckpoint_FullMethodName, Method{Needs: Read, Limits: NoKeys, Records: RecordsNothing, Core: true}, nothing[*stelev1.GetCheckpointRequest]),
	row(stelev1.Proof_ProveInclusion_FullMethodName, Method{Needs: Read, Limits: AllKeys, Records: RecordsEverything, Core: true}, nothing[*stelev1.ProveInclusionRequest]),
	row(stelev1.Proof_ProveConsistency_FullMethodName, Method{Needs: Read, Limits: NoKeys, Records: RecordsNothing, Core: true}, nothing[*stelev1.ProveConsistencyRequest]),

	// Which tenants these may name, their handlers check.
	row(stelev1.Replication_Follow_FullMethodName, Method{Needs: Replicate, Limits: NoKeys, Records: RecordedByHandler, Stream: true, OfNoTenant: true}, nothing[*stelev1.FollowRequest]),
	row(stelev1.Replication_Prove_FullMethodName, Method{Needs: Replicate, Limits: NoKeys, Records: RecordsNothing, OfNoTenant: true}, nothing[*stelev1.ProveRequest]),
	row(stelev1.Replication_RecordRead_FullMethodName, Method{Needs: Replicate, Limits: NoKeys, Records: RecordsNothing, OfNoTenant: true}, nothing[*stelev1.RecordReadRequest]),

	row(stelev1.Schemas_ListSchemas_FullMethodName, Method{Needs: Read, Limits: NamedKeys, Records: RecordsOther},
		func(r *stelev1.ListSchemasRequest) Touched {
			return Touched{Reads: under(r.Prefix), Recorded: under(schema.Tag + r.Prefix)}
		}),
	row(stelev1.Schemas_ExplainKey_FullMethodName, Method{Needs: Read, Limits: NamedKeys, Records: RecordsOther},
		func(r *stelev1.ExplainKeyRequest) Touched {
			return Touched{Reads: Keys{One: r.Key}, Recorded: under(schema.Tag)}
		}),
	row(stelev1.Schemas_CheckValue_FullMethodName, Method{Needs: Read, Limits: NamedKeys, Records: RecordsOther},
		func(r *stelev1.CheckValueRequest) Touched { // the value is the caller's own
			return Touched{Reads: Keys{One: r.Key}, Recorded: under(schema.Tag)}
		}),
	row(stelev1.Schemas_CheckSchema_FullMethodName, Method{Needs: Read, Limits: NamedKeys, Records: RecordedByHandler},
		func(r *stelev1.CheckSchemaRequest) Touched { return Touched{Reads: under(r.Prefix)} }),
	row(stelev1.Schemas_CheckLive_FullMethodName, Method{Needs: Read, Limits: NamedKeys, Records: RecordedByHandler},
		func(r *stelev1.CheckLiveRequest) Touched { return Touched{Reads: under(r.Prefix)} }),

	row(stelev1.Bases_ListBases_FullMethodName, Method{Needs: Read, Limits: NamedKeys, Records: RecordsReads},
		func(*stelev1.ListBasesRequest) Touched { return Touched{Reads: Keys{One: string(ledger.BasesKey)}} }),
	row(stelev1.Bases_ExplainValue_FullMethodName, Method{Needs: Read, Limits: NamedKeys, Records: RecordsReads},
		func(r *stelev1.ExplainValueRequest) Touched { return Touched{Reads: Keys{One: r.Key}} }),
	row(stelev1.Bases_PreviewBaseChange_FullMethodName, Method{Needs: OperatorOnly, Limits: AllKeys, Records: RecordedByHandler}, nothing[*stelev1.PreviewBaseChangeRequest]),

	row(stelev1.Sinks_ListSinks_FullMethodName, Method{Needs: OperatorRead, Limits: NoKeys, Records: RecordsNothing, Core: true}, nothing[*stelev1.ListSinksRequest]),
	row(stelev1.Sinks_ListParked_FullMethodName, Method{Needs: OperatorRead, Limits: OwnPart, Records: RecordsEverything, Core: true}, nothing[*stelev1.ListParkedRequest]),
	row(stelev1.Sinks_ListDrift_FullMethodName, Method{Needs: OperatorRead, Limits: OwnPart, Records: RecordsEverything, Core: true}, nothing[*stelev1.ListDriftRequest]),
	row(stelev1.Sinks_Replay_FullMethodName, Method{Needs: OperatorAdmin, Limits: AllKeys, Records: RecordsNothing, Core: true}, nothing[*stelev1.ReplayRequest]),
	row(stelev1.Sinks_Retry_FullMethodName, Method{Needs: OperatorAdmin, Limits: NamedKeys, Records: RecordsOther, Core: true},
		func(r *stelev1.RetryRequest) Touched { return parked(r.Key) }),
	row(stelev1.Sinks_Skip_FullMethodName, Method{Needs: OperatorAdmin, Limits: NamedKeys, Records: RecordsOther, Core: true},
		func(r *stelev1.SkipRequest) Touched { return parked(r.Key) }),
	row(stelev1.Sinks_CheckDrift_FullMethodName, Method{Needs: OperatorAdmin, Limits: AllKeys, Records: RecordsEverything, Core: true}, nothing[*stelev1.CheckDriftRequest]),
	row(stelev1.Sinks_ResolveDrift_FullMethodName, Method{Needs: OperatorAdmin, Limits: AllKeys, Records: RecordsEverything, Core: true}, nothing[*stelev1.ResolveDriftRequest]),
	row(stelev1.Sinks_PlanRoutes_FullMethodName, Method{Needs: OperatorOnly, Limits: NoKeys, Records: RecordsNothing, OfNoTenant: true, Core: true}, nothing[*stelev1.PlanRoutesRequest]),
	row(stelev1.Sinks_GetRoutes_FullMethodName, Method{Needs: OperatorOnly, Limits: NoKeys, Records: RecordsNothing, OfNoTenant: true}, nothing[*stelev1.GetRoutesRequest]),

	row(syncv1.FlagSyncService_SyncFlags_FullMethodName, Method{Needs: Read, Limits: NamedKeys, Records: RecordedByHandler, Stream: true, AdmittedByHandler: true},
		func(r *syncv1.SyncFlagsRequest) Touched { return flags(r.Selector) }),
	row(syncv1.FlagSyncService_FetchAllFlags_FullMethodName, Method{Needs: Read, Limits: NamedKeys, Records: RecordedByHandler, AdmittedByHandler: true},
		func(r *syncv1.FetchAllFlagsRequest) Touched { return flags(r.Selector) }),
	row(syncv1.FlagSyncService_GetMetadata_FullMethodName, Method{Needs: Read, Limits: NoKeys, Records: RecordsNothing}, nothing[*syncv1.GetMetadataRequest]),

	row(configuration.ConfigService_RetrieveConfig_FullMethodName, Method{Needs: Read, Limits: OwnPart, Records: RecordedByHandler}, nothing[*configuration.RetrieveConfigRequest]),
	row(configuration.ConfigService_RetrieveConfigs_FullMethodName, Method{Needs: Read, Limits: OwnPart, Records: RecordedByHandler}, nothing[*configuration.RetrieveConfigRequests]),
	row(configuration.ConfigService_RefreshConfig_FullMethodName, Method{Needs: Read, Limits: NoKeys, Records: RecordsNothing}, nothing[*configuration.Empty]),

	// These describe the process to callers without a token.
	&Method{Name: configuration.ConfigService_HealthCheck_FullMethodName, Needs: Public},
	&Method{Name: "/grpc.health.v1.Health/Check", Needs: Public},
	&Method{Name: "/grpc.health.v1.Health/Watch", Needs: Public, Stream: true},
	&Method{Name: "/grpc.health.v1.Health/List", Needs: Public},
	&Method{Name: "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Needs: Public, Stream: true},
	&Method{Name: "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Needs: Public, Stream: true},
)

func index(rows ...*Method) map[string]*Method {
	m := make(map[string]*Method, len(rows))
	for _, r := range rows {
		if m[r.Name] != nil {
			panic("policy: two rows for " + r.Name)
		}
		m[r.Name] = r
	}
	return m
}

// Sorted are all methods, sorted by name.
func Sorted() []*Method {
	all := make([]*Method, 0, len(Methods))
	for _, m := range Methods {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *Method) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Requests are empty requests of all methods that need a token.
func Requests() []proto.Message {
	var all []proto.Message
	for _, m := range Sorted() {
		if m.Request != nil {
			all = append(all, m.Request)
		}
	}
	return all
}

// commit reads the keys of preconditions, because a conflict reports their revisions,
// and the values under a schema that is set, because an error reports which of them
// violate it. The commit is its own record; a Viewer records the values that its
// schemas were checked against.
func commit(r *stelev1.CommitRequest) (t Touched) {
	t.Writes.Keys = make([]string, len(r.GetChanges()))
	for i, ch := range r.GetChanges() {
		t.Writes.Keys[i] = ch.GetKey()
		if prefix, is := schema.PrefixOf(ledger.Key(ch.GetKey())); is {
			t.Reads.Prefixes = append(t.Reads.Prefixes, string(prefix))
		}
	}
	if len(r.GetPreconditions()) > 0 {
		t.Reads.Keys = make([]string, len(r.GetPreconditions()))
		for i, pre := range r.GetPreconditions() {
			t.Reads.Keys[i] = pre.GetKey()
		}
	}
	if r.GetImport() != nil {
		t.Administers = t.Writes
	}
	return t
}

// plan also reads the keys that would change: the answer shows their values.
func plan(r *stelev1.PlanRequest) Touched {
	t := commit(r.GetCommit())
	t.Recorded = t.Writes
	t.Reads.Keys = append(t.Reads.Keys, t.Writes.Keys...)
	return t
}

// listCommits shows a commit with its other keys, unless only matching changes are asked for.
func listCommits(r *stelev1.ListCommitsRequest) (t Touched) {
	switch by := r.Keys.(type) {
	case *stelev1.ListCommitsRequest_Key:
		t.Reads.One = by.Key
	case *stelev1.ListCommitsRequest_Prefix:
		t.Reads = under(by.Prefix)
	}
	switch t.Recorded = t.Reads; {
	case !r.OnlyMatchingChanges, r.Encoded, r.Keys == nil:
		t.Recorded = everyKey
	}
	return t
}

// rollback reads the keys that it restores, and the values under the schemas that it
// restores.
func rollback(r *stelev1.RollbackRequest) Touched {
	t := Touched{Writes: under(r.Prefix), Reads: under(r.Prefix)}
	if strings.HasPrefix(r.Prefix, schema.Tag) {
		t.Reads.Prefixes = append(t.Reads.Prefixes, strings.TrimPrefix(r.Prefix, schema.Tag))
	} else if ledger.Pattern(r.Prefix).Covers(schema.Tag) {
		t.Reads.Prefixes = append(t.Reads.Prefixes, "")
	}
	if r.DryRun { // else the commit is the record
		t.Recorded = under(r.Prefix)
	}
	return t
}

// copyKeys reads the new keys as well, because the answer says which of them are set.
func copyKeys(r *stelev1.CopyRequest) Touched {
	t := Touched{Writes: named(r.To), Reads: named(r.From, r.To)}
	if r.Rename {
		t.Writes = t.Reads
	}
	if r.DryRun { // else the commit is the record
		t.Recorded = t.Reads
	}
	return t
}

// parked is the keys of a request about a parked key, or about all of them.
func parked(key string) Touched {
	if key == "" {
		return Touched{Administers: everyKey} // the answer is a number: nothing is recorded
	}
	return Touched{Administers: Keys{One: key}, Recorded: Keys{One: key}}
}

// flags are the keys that a selector of flagd selects. The handler refuses one that is
// not valid.
func flags(selector string) Touched {
	prefix, _ := flagd.Prefix(selector)
	return Touched{Reads: under(string(prefix))}
}

// schemaValues are the prefixes of the values under the schemas among some changes.
func schemaValues(changes []ledger.Change) (k Keys) {
	for _, ch := range changes {
		if prefix, is := schema.PrefixOf(ch.Key); is {
			k.Prefixes = append(k.Prefixes, string(prefix))
		}
	}
	return k
}
