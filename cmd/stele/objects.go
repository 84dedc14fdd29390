package main

import (
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/output"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// The objects below are what -o json and -o yaml print.

type entry struct {
	Key      string          `json:"key"`
	Revision uint64          `json:"revision"`
	Value    json.RawMessage `json:"value"`
	Secret   bool            `json:"secret,omitempty"`
}

func entryObject(e *stelev1.Entry) entry {
	return entry{e.Key, e.Revision, json.RawMessage(e.Value), e.Secret}
}

type change struct {
	Key      string          `json:"key"`
	Value    json.RawMessage `json:"value,omitempty"`
	Delete   bool            `json:"delete,omitempty"`
	Previous uint64          `json:"previous_revision,omitempty"`
	// Was is the value before, where it was asked for.
	Was json.RawMessage `json:"was,omitempty"`
}

func changeObjects(changes []*stelev1.Change) []change {
	objects := make([]change, len(changes))
	for i, c := range changes {
		objects[i] = change{Key: c.Key, Delete: c.Delete, Previous: c.PreviousRevision, Value: json.RawMessage(c.Value)}
	}
	return objects
}

type commit struct {
	Tenant   string `json:"tenant,omitempty"`
	Revision uint64 `json:"revision"`
	ID       string `json:"id"`
	Parent   string `json:"parent,omitempty"`
	Time     string `json:"time"`
	Author   string `json:"author"`
	// Operator says that the author was one, acting for the tenant.
	Operator  bool   `json:"operator,omitempty"`
	Message   string `json:"message"`
	RequestID string `json:"request_id,omitempty"`
	// Recorded and Importer are those of an import.
	Recorded string `json:"recorded,omitempty"`
	Importer string `json:"importer,omitempty"`
	// Rollback is what a rollback went back to.
	Rollback *rollbackOrigin `json:"rollback,omitempty"`
	// Reverts are the commits that a revert took back.
	Reverts []uint64 `json:"reverts,omitempty"`
	Changes []change `json:"changes"`
	// Partial says that it changed other keys, too, which the caller may not read.
	Partial bool `json:"partial,omitempty"`
}

type rollbackOrigin struct {
	Revision uint64 `json:"revision"`
	Prefix   string `json:"prefix"`
}

func commitObject(info *stelev1.CommitInfo) commit {
	c := info.Commit
	o := commit{
		Tenant: c.Tenant, Revision: c.Revision, ID: hex.EncodeToString(info.Id), Parent: hex.EncodeToString(c.Parent),
		Time: rfc3339(c.Time), Author: c.Author, Operator: c.ByOperator, Message: c.Message, RequestID: c.RequestId,
		Reverts: c.Origin.GetRevert().GetRevisions(),
		Changes: changeObjects(c.Changes), Partial: info.Partial,
	}
	if in := c.Origin.GetImport(); in != nil {
		o.Recorded, o.Importer = rfc3339(in.Recorded), in.Importer
	}
	if back := c.Origin.GetRollback(); back != nil {
		o.Rollback = &rollbackOrigin{back.Revision, back.Prefix}
	}
	for i, was := range info.PreviousValues {
		o.Changes[i].Was = json.RawMessage(was)
	}
	return o
}

func rfc3339(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().Format(time.RFC3339Nano)
}

// clock is a time for people; fractions of a second are for programs.
func clock(t *timestamppb.Timestamp) string { return t.AsTime().Format(time.RFC3339) }

func styleRevision(s string) string { return output.Revision.Render(s) }
