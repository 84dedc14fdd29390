package s3_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/fakeaws"
	"github.com/stelehq/stele/internal/projector/s3"
	"github.com/stelehq/stele/internal/projector/sinktest"
	"go.uber.org/goleak"
)

const bucket = "config"

var epoch = ledger.Epoch{1, 2, 3, 4, 5, 6, 7, 8}

func TestMain(m *testing.M) {
	os.Setenv("AWS_ACCESS_KEY_ID", "fake")
	os.Setenv("AWS_SECRET_ACCESS_KEY", "fake")
	goleak.VerifyTestMain(m)
}

func start(t testing.TB, versioned bool) *fakeaws.Server {
	t.Helper()
	server, err := fakeaws.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	server.Objects.MakeBucket(bucket, versioned)
	return server
}

// settings may say more than where the bucket is.
func settings(server *fakeaws.Server, e ledger.Epoch, more string) projector.Settings {
	return projector.Settings{Name: "blobs", Local: true, Epoch: e, Log: slog.New(slog.DiscardHandler), JSON: fmt.Appendf(nil,
		`{"bucket": %q, "endpoint": %q, "region": %q, "reads": 100000 %s}`, bucket, server.URL, fakeaws.Region, more)}
}

func open(t testing.TB, server *fakeaws.Server, more string) projector.Store {
	t.Helper()
	t.Setenv("AWS_MAX_ATTEMPTS", "1") // or the SDK hides faults, and waits
	s, err := s3.Open(t.Context(), settings(server, epoch, more))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s.(projector.Store)
}

func write(rev ledger.Revision, key ledger.Key, v ledger.Value) projector.Write {
	return projector.Write{Tenant: "acme", Key: key, Value: v, Revision: rev, Route: &routes.Route{}}
}

func try(t testing.TB, s projector.Store, writes ...projector.Write) []error {
	t.Helper()
	errs, err := s.Write(t.Context(), writes)
	if err != nil {
		t.Fatalf("write: %v", err)
	}
	return errs
}

func must(t testing.TB, s projector.Store, writes ...projector.Write) {
	t.Helper()
	if err := errors.Join(try(t, s, writes...)...); err != nil {
		t.Fatal(err)
	}
}

func TestStore(t *testing.T) {
	for name, c := range map[string]struct {
		versioned, shortPages bool
		more                  string
	}{
		"Versioned":   {versioned: true},
		"Unversioned": {more: `, "tags": {"tenant": "{tenant}"}`},
		"ShortPages":  {versioned: true, shortPages: true},
	} {
		t.Run(name, func(t *testing.T) {
			// Some of the longest keys have no room after so long a prefix.
			more := c.more + `, "prefix": "` + strings.Repeat("p", 510) + `/x"`
			sinktest.Store(t, func(t *testing.T) sinktest.Place {
				server := start(t, c.versioned)
				server.SetFaults(fakeaws.Faults{ShortPages: c.shortPages})
				return sinktest.Place{
					Open: func(ctx context.Context, e ledger.Epoch) (projector.Store, error) {
						s, err := s3.Open(ctx, settings(server, e, more))
						if err != nil {
							return nil, err
						}
						return s.(projector.Store), nil
					},
					Fit:     func(e ledger.Epoch) (projector.Fit, error) { return s3.Fit(settings(server, e, more)) },
					Put:     func(t testing.TB, name, text string) { server.Objects.Edit(bucket, name, []byte(text)) },
					Delete:  func(t testing.TB, name string) { server.Objects.Remove(bucket, name) },
					Refused: write(1, ledger.Key(strings.Repeat("k", ledger.MaxKey)), `1`),
				}
			})
		})
	}
}

func TestWrite_WhatObjectsHave(t *testing.T) {
	server := start(t, true)
	s := open(t, server, `, "strip": "blob_config_", "tags": {"tenant": "{tenant}", "team": "platform"}`)
	plain, structured := write(1, "blob_config_motd", `"hello"`), write(2, "blob_config_flags", `{"a":[1.0,9007199254740993]}`)
	secure := write(3, "blob_config_keys", `1`)
	secure.Route = &routes.Route{Secure: true, KMSKey: "alias/config"}
	must(t, s, plain, structured, secure)
	for _, c := range []struct{ name, body, kind, mark, key string }{
		{"stele/acme/motd", "hello", "text/plain; charset=utf-8", "stele 0102030405060708/1 string", ""},
		{"stele/acme/flags", `{"a":[1.0,9007199254740993]}`, "application/json", "stele 0102030405060708/2 json", ""},
		{"stele/acme/keys", "1", "application/json", "stele 0102030405060708/3 json", "alias/config"},
	} {
		o, ok := server.Objects.Get(bucket, c.name)
		if !ok || string(o.Body) != c.body || o.ContentType != c.kind || o.Metadata["stele"] != c.mark || o.KMSKey != c.key {
			t.Errorf("%s is %q with %+v", c.name, o.Body, o)
		}
		if o.Tags["tenant"] != "acme" || o.Tags["team"] != "platform" {
			t.Errorf("%s has the tags %v", c.name, o.Tags)
		}
	}
	// A secure route requires KMS; a value that was written without it is drift.
	item, _, err := s.Read(t.Context(), "stele/acme/motd")
	plain.Route = secure.Route
	if err != nil || s.Same(item, plain) {
		t.Errorf("an object without a key of KMS is as a secure route wants it: %v", err)
	}
}

// A replay costs requests, and makes no versions.
func TestWrite_AgainMakesNoVersion(t *testing.T) {
	server := start(t, true)
	s := open(t, server, "")
	w := write(3, "a", `"x"`)
	must(t, s, w)
	must(t, s, w)
	older := write(2, "a", `"old"`)
	must(t, s, older)
	if v := server.Objects.Versions(bucket, "stele/acme/a"); len(v) != 1 || string(v[0].Body) != "x" {
		t.Errorf("the object has %d versions: %+v", len(v), v)
	}
	must(t, s, write(4, "a", ""))
	must(t, s, write(4, "a", ""))
	if v := server.Objects.Versions(bucket, "stele/acme/a"); len(v) != 2 || !v[1].Deleted {
		t.Errorf("a deletion leaves %+v, not one delete marker", v)
	}
}

// What changes between look and write is not overwritten: the write is tried again.
func TestWrite_ChangedBetweenLookAndPut(t *testing.T) {
	for name, c := range map[string]struct {
		first, then projector.Write
		edit        func(*fakeaws.Server)
		body        string
	}{
		"Put":    {write(1, "a", `1`), write(2, "a", `2`), func(s *fakeaws.Server) { s.Objects.Edit(bucket, "stele/acme/a", []byte("mine")) }, "mine"},
		"Delete": {write(1, "a", `1`), write(2, "a", ""), func(s *fakeaws.Server) { s.Objects.Edit(bucket, "stele/acme/a", []byte("mine")) }, "mine"},
		"Create": {write(1, "b", `1`), write(2, "a", `2`), func(s *fakeaws.Server) { s.Objects.Edit(bucket, "stele/acme/a", []byte("mine")) }, "mine"},
		"Gone":   {write(1, "a", `1`), write(2, "a", `2`), func(s *fakeaws.Server) { s.Objects.Remove(bucket, "stele/acme/a") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			server := start(t, true)
			s := open(t, server, "")
			must(t, s, c.first)
			server.SetFaults(fakeaws.Faults{Before: func(operation string) {
				if operation == "PutObject" || operation == "DeleteObject" {
					c.edit(server)
				}
			}})
			err := try(t, s, c.then)[0]
			if err == nil || !strings.Contains(err.Error(), "changed meanwhile") {
				t.Errorf("the write ends with %v", err)
			}
			if _, refused := errors.AsType[*projector.RefusedError](err); refused {
				t.Error("a write that met a change counts as refused")
			}
			if o, _ := server.Objects.Get(bucket, "stele/acme/a"); string(o.Body) != c.body {
				t.Errorf("the object is %q, not what was written by hand", o.Body)
			}
			server.SetFaults(fakeaws.Faults{})
			must(t, s, c.then)
			if o, ok := server.Objects.Get(bucket, "stele/acme/a"); ok == c.then.Deleted() || string(o.Body) != string(c.then.Value) {
				t.Errorf("after another try the object is %q", o.Body)
			}
		})
	}
}

// A sweep reads what a listing says has changed, and nothing else.
func TestScan_ReadsChangedObjectsOnly(t *testing.T) {
	server := start(t, true)
	s := open(t, server, "")
	var writes []projector.Write
	for i := range 30 {
		writes = append(writes, write(ledger.Revision(i+1), ledger.Key(fmt.Sprintf("k/%d", i)), `"x"`))
	}
	must(t, s, writes...)
	scan := func() (values map[string]ledger.Value, reads int) {
		values = make(map[string]ledger.Value)
		before := server.Calls("GetObject")
		if err := s.Scan(t.Context(), "acme", func(i projector.Item) error { values[i.Name] = i.Value; return nil }); err != nil {
			t.Fatal(err)
		}
		return values, server.Calls("GetObject") - before
	}
	if v, n := scan(); len(v) != 30 || n != 30 {
		t.Errorf("the first scan yields %d objects after %d reads", len(v), n)
	}
	if v, n := scan(); len(v) != 30 || n != 0 {
		t.Errorf("the second scan yields %d objects after %d reads", len(v), n)
	}
	server.Objects.Edit(bucket, "stele/acme/k/7", []byte("mine"))
	if v, n := scan(); v["stele/acme/k/7"] != `"mine"` || n != 1 {
		t.Errorf("after an edit a scan finds %s after %d reads", v["stele/acme/k/7"], n)
	}
}

// TestScan_ForgetsDeletedObjects has another program delete an object and write it again within
// a second, which a listing does not show as a change.
func TestScan_ForgetsDeletedObjects(t *testing.T) {
	server := start(t, false)
	s := open(t, server, "")
	w := write(1, "k", `"x"`)
	must(t, s, w)
	scan := func() (items, reads int) {
		before := server.Calls("GetObject")
		if err := s.Scan(t.Context(), "acme", func(projector.Item) error { items++; return nil }); err != nil {
			t.Fatal(err)
		}
		return items, server.Calls("GetObject") - before
	}
	scan()
	for _, key := range server.Objects.Keys(bucket) {
		server.Objects.Remove(bucket, key)
	}
	if items, _ := scan(); items != 0 {
		t.Fatalf("%d items are left", items)
	}
	must(t, open(t, server, ""), w)
	if items, reads := scan(); items != 1 || reads != 1 {
		t.Errorf("it finds %d items with %d reads, want 1 with 1", items, reads)
	}
}

func TestSettings(t *testing.T) {
	t.Setenv("AWS_REGION", "us-east-1")
	for text, want := range map[string]string{
		`{"bucket":"b"}`: "",
		`{"bucket":"b","prefix":"a/b","strip":"blob_config_","tags":{"t":"{tenant}"}}`: "",
		`{}`:                                                                    "bucket",
		`{"bucket":"b/c"}`:                                                      "bucket",
		`{"bucket":"b","prefix":"/"}`:                                           "prefix",
		`{"bucket":"b","strip":" "}`:                                            "strip",
		`{"bucket":"b","reads":-1}`:                                             "reads",
		`{"bucket":"b","tags":{"aws:x":""}}`:                                    "tags",
		`{"bucket":"b","tags":{"x":"\n"}}`:                                      "tag x",
		`{"bucket":"b","bukkit":1}`:                                             "bukkit",
		`{"bucket":"b","external_id":"x"}`:                                      "role_arn",
		`{"bucket":"b","document":"config/{tenant}.json"}`:                      "",
		`{"bucket":"b","document":"config.json"}`:                               "document",
		`{"bucket":"b","document":"{tenant}/{tenant}"}`:                         "document",
		`{"bucket":"b","max_bytes":1}`:                                          "document",
		`{"bucket":"b","document":"{tenant}","max_bytes":99999999}`:             "max_bytes",
		`{"bucket":"b","document":"a:{tenant}"}`:                                "no colon",
		`{"bucket":"b","document":"{tenant}","prefix":"a"}`:                     "document and prefix",
		`{"bucket":"b","document":"` + strings.Repeat("x", 1000) + `{tenant}"}`: "1024",
		`{"bucket":"b","role_arn":"me"}`:                                        "role_arn",
	} {
		_, err := s3.Open(t.Context(), projector.Settings{Name: "blobs", Local: true, JSON: []byte(text)})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestRead_NamesOfOthers(t *testing.T) {
	s := open(t, start(t, true), "")
	for _, name := range []string{"", "stele", "stele/acme", "stele/acme/", "other/acme/a", "stele/ACME/a", "stele//a"} {
		if _, _, err := s.Read(t.Context(), name); err == nil {
			t.Errorf("%q is read", name)
		}
	}
}
