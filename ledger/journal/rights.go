package journal

import (
	"fmt"

	"github.com/stelehq/stele/ledger"
)

// What follows are subjects: to publish to one is a right on the NATS servers.
const api = "$JS.API."

// edgeAPI is what an edge's account has in the place of $JS.API for its consumers: by
// that name it is answered by itself, too, that it has no JetStream.
const edgeAPI = "STELE.API"

func streamNames(shards int) []string {
	var names []string
	for i := range shards {
		names = append(names, streamName(i))
	}
	return names
}

// reading is what it takes to look at a stream, and to read it with consumers, which
// have random names. The filter follows the name, where a consumer has one.
func reading(stream, filter string) []string {
	return []string{
		api + "STREAM.INFO." + stream,
		api + "STREAM.MSG.GET." + stream,
		api + "CONSUMER.CREATE." + stream + ".*" + filter,
		api + "CONSUMER.INFO." + stream + ".*",
		api + "CONSUMER.MSG.NEXT." + stream + ".*",
	}
}

// RightsToFollow are those to open a journal that exists, and to read all of it.
func RightsToFollow(shards int) []string {
	var rights []string
	for _, name := range streamNames(shards) {
		rights = append(rights, reading(name, "")...)
	}
	return rights
}

// RightsToAppend are those to write commits.
func RightsToAppend(shards int) []string {
	var rights []string
	for i := range shards {
		rights = append(rights, subject(i, "*"))
	}
	return rights
}

// RightsToOpen are those to find a stream beside the shards, and to guard it.
func (k SideKind) RightsToOpen() []string { return []string{api + "STREAM.INFO." + k.stream} }

// RightsToRead are those to read it, and to open it.
func (k SideKind) RightsToRead() []string {
	switch k {
	case Reads:
		return reading(k.stream, "."+k.subject+"*")
	case Parked:
		return reading(k.stream, "."+k.subject+">")
	}
	return reading(k.stream, "")[:2] // nobody needs a consumer
}

// RightsToAppend are those to write to it.
func (k SideKind) RightsToAppend() []string {
	if k == Parked || k == Sinks {
		return []string{k.subject + ">"}
	}
	return []string{k.subject + "*"}
}

// RightsToRemove are those to take messages out, where that is ever done.
func (k SideKind) RightsToRemove() []string { return []string{api + "STREAM.MSG.DELETE." + k.stream} }

// RightsToCreate are those to make all streams, and to change none.
func RightsToCreate(shards int) []string {
	names := streamNames(shards)
	for _, k := range []SideKind{Checkpoints, Reads, Sinks, Parked, Keys} {
		names = append(names, k.stream)
	}
	rights := []string{api + "STREAM.LIST"}
	for _, name := range names {
		rights = append(rights, api+"STREAM.CREATE."+name, api+"STREAM.INFO."+name)
	}
	return rights
}

// RightsToBackUp are those to take all streams as they are.
func RightsToBackUp(shards int) []string {
	names := append(streamNames(shards), Checkpoints.stream, Reads.stream, Sinks.stream, Parked.stream, Keys.stream)
	var rights []string
	for _, name := range names {
		rights = append(rights, api+"STREAM.INFO."+name, api+"STREAM.SNAPSHOT."+name, "$JS.SNAPSHOT.ACK."+name+".>")
	}
	return rights
}

// RightsToMakeEdges are those to make the consumers of edges.
func RightsToMakeEdges(shards int) []string {
	var rights []string
	for _, name := range streamNames(shards) {
		rights = append(rights, api+"CONSUMER.CREATE."+name+".*", api+"CONSUMER.DELETE."+name+".*")
	}
	return rights
}

// EdgeRight is a subject of the ledger's account that an edge may publish to.
type EdgeRight struct {
	Subject string
	// As is what the subject is called in the edge's account.
	As string
	// Many says that there may be many answers.
	Many bool
}

// EdgeRights are all that an edge of that name has.
func EdgeRights(name string, tenants []ledger.Tenant, shards int) []EdgeRight {
	var rights []EdgeRight
	held := edgeShards(tenants, shards)
	for i := range shards {
		if held[i] == nil {
			continue
		}
		for _, ask := range []string{"INFO", "RESET", "MSG.NEXT"} {
			request := fmt.Sprintf("CONSUMER.%s.%s.%s", ask, streamName(i), name)
			rights = append(rights, EdgeRight{api + request, edgeAPI + "." + request, ask == "MSG.NEXT"})
		}
	}
	for _, t := range tenants {
		subject := Reads.subject + string(t)
		rights = append(rights, EdgeRight{subject, subject, false})
	}
	return rights
}

// OthersOnEdge are rights that nobody but an edge of that name may have.
func OthersOnEdge(name string) []string {
	return []string{api + "CONSUMER.*.*." + name, api + "CONSUMER.MSG.NEXT.*." + name}
}
