package s3_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/fakeaws"
	"github.com/stelehq/stele/internal/projector/s3"
	"github.com/stelehq/stele/internal/projector/sinktest"
)

const documents = `, "document": "config/{tenant}.json"`

// editDocument changes a document by hand.
func editDocument(t testing.TB, server *fakeaws.Server, object string, change func(map[string]jsontext.Value)) {
	t.Helper()
	members := make(map[string]jsontext.Value)
	if o, ok := server.Objects.Get(bucket, object); ok {
		if err := json.Unmarshal(o.Body, &members); err != nil {
			t.Fatal(err)
		}
	}
	change(members)
	body, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	server.Objects.Edit(bucket, object, body)
}

func TestDocuments_Store(t *testing.T) {
	for name, more := range map[string]string{"Default": documents + `, "max_bytes": 300000`, "Tags": documents + `, "max_bytes": 300000, "tags": {"tenant": "{tenant}"}`} {
		t.Run(name, func(t *testing.T) {
			sinktest.Store(t, func(t *testing.T) sinktest.Place {
				server := start(t, true)
				return sinktest.Place{
					Open: func(ctx context.Context, e ledger.Epoch) (projector.Store, error) {
						s, err := s3.Open(ctx, settings(server, e, more))
						if err != nil {
							return nil, err
						}
						return s.(projector.Store), nil
					},
					Fit: func(e ledger.Epoch) (projector.Fit, error) { return s3.Fit(settings(server, e, more)) },
					Put: func(t testing.TB, name, text string) {
						object, member, _ := strings.Cut(name, ":")
						editDocument(t, server, object, func(all map[string]jsontext.Value) {
							quoted, err := json.Marshal(text)
							if err != nil {
								t.Fatal(err)
							}
							all[member] = quoted
						})
					},
					Delete: func(t testing.TB, name string) {
						object, member, _ := strings.Cut(name, ":")
						editDocument(t, server, object, func(all map[string]jsontext.Value) { delete(all, member) })
					},
					Refused: write(1, "k", ledger.Value(`"`+strings.Repeat("x", 300_000)+`"`)),
				}
			})
		})
	}
}

// A commit is one version of the object, with all keys of the tenant; a replay makes none,
// and the last deletion removes the object.
func TestDocuments_WhatObjectsHave(t *testing.T) {
	server := start(t, true)
	s := open(t, server, documents+`, "strip": "app/"`)
	must(t, s, write(1, "app/a", `1.0`), write(1, "app/b", `"x"`))
	must(t, s, write(1, "app/a", `1.0`), write(1, "app/b", `"x"`))
	must(t, s, write(2, "app/b", ""), write(2, "app/c", `[true]`))
	const object = "config/acme.json"
	o, ok := server.Objects.Get(bucket, object)
	want := "{\n\"a\": 1.0,\n\"c\": [true],\n\"$stele\": {\"epoch\":\"0102030405060708\",\"revisions\":{\"a\":1,\"c\":2}}\n}\n"
	if !ok || string(o.Body) != want || o.ContentType != "application/json" {
		t.Errorf("the object is %q, of the type %s", o.Body, o.ContentType)
	}
	if v := server.Objects.Versions(bucket, object); len(v) != 2 {
		t.Errorf("the object has %d versions", len(v))
	}
	secure := write(3, "app/d", `1`)
	secure.Route = &routes.Route{Secure: true}
	if err := try(t, s, secure)[0]; err == nil || !strings.Contains(err.Error(), "its route is secure") {
		t.Errorf("a write of a secure route ends with %v", err)
	}
	must(t, s, write(3, "app/a", ""), write(3, "app/c", ""))
	if _, ok := server.Objects.Get(bucket, object); ok {
		t.Error("the document without a key exists")
	}
}

// A document that changes between look and put is not overwritten.
func TestDocuments_ChangedBetweenLookAndPut(t *testing.T) {
	const object = "config/acme.json"
	for name, then := range map[string]projector.Write{"Put": write(2, "b", `2`), "Delete": write(2, "a", "")} {
		t.Run(name, func(t *testing.T) {
			server := start(t, true)
			s := open(t, server, documents)
			must(t, s, write(1, "a", `1`))
			server.SetFaults(fakeaws.Faults{Before: func(operation string) {
				if operation == "PutObject" || operation == "DeleteObject" {
					editDocument(t, server, object, func(all map[string]jsontext.Value) { all["mine"] = jsontext.Value(`true`) })
				}
			}})
			if err := try(t, s, then)[0]; err == nil || !strings.Contains(err.Error(), "changed meanwhile") {
				t.Errorf("the write ends with %v", err)
			}
			server.SetFaults(fakeaws.Faults{})
			must(t, s, then)
			if o, _ := server.Objects.Get(bucket, object); !strings.Contains(string(o.Body), `"mine": true`) {
				t.Errorf("the document is %s", o.Body)
			}
		})
	}
}

// Faults of S3 fail whole calls or writes, are never refusals, and heal. An object that is
// not a document counts as empty.
func TestDocuments_Faults(t *testing.T) {
	for name, c := range map[string]struct {
		faults fakeaws.Faults
		whole  bool
	}{
		"Throttled":   {fakeaws.Faults{Throttled: 1}, true},
		"AnswerLost":  {fakeaws.Faults{Lost: 1, Operations: []string{"PutObject"}}, true},
		"MayNotWrite": {fakeaws.Faults{Denied: []string{"PutObject"}}, false},
		"MayNotRead":  {fakeaws.Faults{Denied: []string{"GetObject"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			server := start(t, true)
			s := open(t, server, documents)
			server.Objects.Edit(bucket, "config/acme.json", []byte("not a document"))
			server.SetFaults(c.faults)
			w := write(1, "a", `1`)
			errs, err := s.Write(t.Context(), []projector.Write{w})
			all := errors.Join(append(errs, err)...)
			if (err != nil) != c.whole || all == nil {
				t.Errorf("the call ends with %v, %v", errs, err)
			}
			if _, refused := errors.AsType[*projector.RefusedError](all); refused {
				t.Errorf("%v counts as refused: nothing would try it again soon", all)
			}
			server.SetFaults(fakeaws.Faults{})
			must(t, s, w)
			if o, _ := server.Objects.Get(bucket, "config/acme.json"); !strings.HasPrefix(string(o.Body), "{\n\"a\": 1,\n") {
				t.Errorf("after the fault the document is %s", o.Body)
			}
		})
	}
}
