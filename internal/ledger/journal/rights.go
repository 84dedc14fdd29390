package journal

import "slices"

// The following are subjects: to publish to one is a permission on the NATS servers.
const api = "$JS.API."

// reading is the permission to inspect a stream, and to read it with consumers, which
// have random names. The filter follows the name, if a consumer has one.
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
func RightsToFollow() []string { return reading(streamName, "") }

// RightsToAppend are those to write commits.
func RightsToAppend() []string { return []string{subject} }

// RightsToOpen are those to find an auxiliary stream, and to guard it.
func (k AuxKind) RightsToOpen() []string { return []string{api + "STREAM.INFO." + k.stream} }

// RightsToRead are those to read it, and to open it.
func (k AuxKind) RightsToRead() []string {
	switch k {
	case Reads:
		return reading(k.stream, "."+k.subject+"*")
	case Parked:
		return reading(k.stream, "."+k.subject+">")
	}
	return reading(k.stream, "")[:2] // no process needs a consumer
}

// RightsToAppend are those to write to it.
func (k AuxKind) RightsToAppend() []string {
	if k == Parked || k == Sinks {
		return []string{k.subject + ">"}
	}
	return []string{k.subject + "*"}
}

// RightsToRemove are those to delete messages from it, for the streams that allow it.
func (k AuxKind) RightsToRemove() []string { return []string{api + "STREAM.MSG.DELETE." + k.stream} }

// streamNames are all streams that a ledger has.
func streamNames() []string {
	names := []string{streamName}
	for _, kind := range slices.Concat(auxStreams, buckets) {
		names = append(names, kind.stream)
	}
	return names
}

// RightsToCreate are those to create all streams, and to change none.
func RightsToCreate() []string {
	// The stream of the layout before this one is looked for, to refuse it.
	rights := []string{api + "STREAM.INFO." + oldStream}
	for _, name := range streamNames() {
		rights = append(rights, api+"STREAM.CREATE."+name, api+"STREAM.INFO."+name)
	}
	return rights
}

// RightsToBackUp are those to take snapshots of all streams.
func RightsToBackUp() []string {
	var rights []string
	for _, name := range streamNames() {
		rights = append(rights, api+"STREAM.INFO."+name, api+"STREAM.SNAPSHOT."+name, "$JS.SNAPSHOT.ACK."+name+".>")
	}
	return rights
}
