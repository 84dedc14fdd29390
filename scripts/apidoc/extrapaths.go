package main

import "google.golang.org/protobuf/reflect/protoreflect"

// extraPaths are the paths that are not generated from a single method.
func extraPaths(s *schemas, a *api) object {
	message := func(service, method string, input bool) protoreflect.MessageDescriptor {
		for _, svc := range a.services {
			for _, m := range svc.methods {
				if svc.name != service || string(m.Name()) != method {
					continue
				}
				if input {
					return m.Input()
				}
				return m.Output()
			}
		}
		panic("no such method: " + service + "." + method)
	}
	commit := s.ref(message("Ledger", "Commit", false))
	watched := message("Config", "Watch", false)
	create := message("Config", "Watch", true).Fields().ByName("create").Message()
	failed := object{"$ref": "#/components/responses/Error"}
	tenant := object{"$ref": "#/components/parameters/AsTenant"}
	parameter := func(in, name, description string, schema object) object {
		return object{"name": name, "in": in, "description": description, "schema": schema, "required": in == "path"}
	}
	text, flag, list := object{"type": "string"}, object{"type": "boolean"}, object{"type": "array", "items": object{"type": "string"}}
	change := func(id, summary string) object {
		return object{
			"operationId": id, "tags": []string{"Config"}, "summary": summary,
			"description": summary + " This is a change set with one change; POST /v1/commits accepts several.\n\nNeeds: write, and read with a condition.",
			"parameters": []object{
				tenant, parameter("path", "key", "The key; its slashes may be escaped.", text),
				parameter("query", "message", "The reason, for readers of the history.", object{"type": "string", "maxLength": 4096}),
				parameter("query", "request_id", "The idempotency key of this change, chosen by the caller: a repeated request gets the first outcome.", object{"type": "string", "maxLength": 128}),
				parameter("header", "If-Match", "The entity tag from a GET: its commit must still be the last that set the key.", text),
				parameter("header", "If-None-Match", "*: the key must not be set.", text),
			},
			"responses": object{
				"200":     object{"description": "OK", "headers": object{"ETag": object{"schema": text, "description": "The key's new entity tag."}}, "content": jsonOf(commit)},
				"412":     object{"description": "The key is at another revision.", "content": jsonOf(ref("Status"))},
				"default": failed,
			},
		}
	}
	put := change("setKey", "Sets one key to the JSON in the body.")
	put["requestBody"] = object{"required": true, "content": jsonOf(object{"description": "Any JSON."})}
	events := object{}
	for _, name := range []string{"created", "state", "commit", "progress", "canceled"} {
		events[name] = s.ref(watched.Fields().ByName(protoreflect.Name(name)).Message())
	}
	placed := message("Ledger", "WatchAllCommits", false)
	allEvents := object{"commit": s.ref(placed.Fields().ByName("commits").Message()), "progress": s.ref(placed)}
	about := func(field string) string { return comment(create.Fields().ByName(protoreflect.Name(field))) }
	return object{
		"/v1/config/{key}": object{"put": put, "delete": change("deleteKey", "Deletes one key.")},
		"/v1/watch": object{"get": object{
			"operationId": "watch", "tags": []string{"Config"}, "summary": "Follows changes as server-sent events.",
			"description": "Events are created, state, commit, progress, canceled, which is the last, and error, after which the stream ends; the data of each is JSON. " +
				"An id, REVISION-ID, is the commit up to which the reader has everything: in Last-Event-ID, it resumes the stream after that commit.\n\nNeeds: read.",
			"parameters": []object{
				tenant,
				parameter("query", "prefix", "The keys under this prefix; all keys if there is neither prefix nor key.", list),
				parameter("query", "key", "This key.", list),
				parameter("query", "from_revision", about("from_revision"), object{"type": "integer", "minimum": 0}),
				parameter("query", "initial_state", about("initial_state"), flag),
				parameter("query", "newest_only_when_slow", about("newest_only_when_slow"), flag),
				parameter("header", "Last-Event-ID", "Resume after the event with this id, whatever the query says.", text),
			},
			"responses": object{
				"200":     object{"description": "The stream", "content": object{"text/event-stream": object{"schema": text, "x-events": events}}},
				"default": failed,
			},
		}},
		"/v1/all-commits:watch": object{"get": object{
			"operationId": "watchAllCommits", "tags": []string{"Ledger"}, "summary": "Sends the commits of all tenants as server-sent events.",
			"description": "Events are commit, progress, and error, after which the stream ends; the data of each is JSON. " +
				"An id, EPOCH-POSITION-REVISION-ID-TENANT, is the position up to which everything was sent, and the last commit up to it: in Last-Event-ID, it resumes the stream after that position.\n\nNeeds: the role operator.",
			"parameters": []object{
				tenant,
				parameter("query", "after_position", "Send the commits after this position; 0 is the beginning. Absent: only new commits.", object{"type": "integer", "minimum": 0}),
				parameter("query", "epoch", "The epoch that the position is from, hexadecimal.", text),
				parameter("query", "omit_values", "Leave the values out; keys and operations stay.", flag),
				parameter("header", "Last-Event-ID", "Resume after the event with this id, whatever the query says.", text),
			},
			"responses": object{
				"200":     object{"description": "The stream", "content": object{"text/event-stream": object{"schema": text, "x-events": allEvents}}},
				"default": failed,
			},
		}},
		"/v1/openapi.json": object{"get": object{
			"operationId": "openapi", "summary": "This document.", "security": []object{},
			"responses": object{"200": object{"description": "OK", "content": jsonOf(object{"type": "object"})}},
		}},
	}
}
