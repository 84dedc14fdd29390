package secretsmanager_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/fakeaws"
	"github.com/stelehq/stele/internal/projector/secretsmanager"
	"github.com/stelehq/stele/internal/projector/sinktest"
	"go.uber.org/goleak"
)

var epoch = ledger.Epoch{1, 2, 3, 4, 5, 6, 7, 8}

func TestMain(m *testing.M) {
	os.Setenv("AWS_ACCESS_KEY_ID", "fake")
	os.Setenv("AWS_SECRET_ACCESS_KEY", "fake")
	goleak.VerifyTestMain(m)
}

func start(t testing.TB) *fakeaws.Server {
	t.Helper()
	server, err := fakeaws.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server
}

// settings are those of a sink that need not wait, and may say more.
func settings(server *fakeaws.Server, e ledger.Epoch, more string) projector.Settings {
	return projector.Settings{Name: "secrets", Local: true, Epoch: e, Log: slog.New(slog.DiscardHandler), JSON: fmt.Appendf(nil,
		`{"endpoint": %q, "region": %q, "rate": 100000, "reads": 100000 %s}`, server.URL, fakeaws.Region, more)}
}

func open(t testing.TB, server *fakeaws.Server, more string) projector.Store {
	t.Helper()
	t.Setenv("AWS_MAX_ATTEMPTS", "1") // or the SDK hides faults, and waits
	s, err := secretsmanager.Open(t.Context(), settings(server, epoch, more))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s.(projector.Store)
}

func write(rev ledger.Revision, key ledger.Key, v ledger.Value) projector.Write {
	return projector.Write{Tenant: "acme", Key: key, Value: v, Revision: rev, Route: &routes.Route{Secure: true}}
}

func try(t testing.TB, s projector.Store, w projector.Write) error {
	t.Helper()
	errs, err := s.Write(t.Context(), []projector.Write{w})
	return errors.Join(append(errs, err)...)
}

func must(t testing.TB, s projector.Store, writes ...projector.Write) {
	t.Helper()
	for _, w := range writes {
		if err := try(t, s, w); err != nil {
			t.Fatal(err)
		}
	}
}

func secret(t testing.TB, server *fakeaws.Server, name string) fakeaws.Secret {
	t.Helper()
	is, ok := server.Secrets.Get(name)
	if !ok {
		t.Fatalf("secret %s does not exist", name)
	}
	return is
}

func TestStore(t *testing.T) {
	for name, more := range map[string]string{"Default": "", "Own": `, "prefix": "platform/prod", "recovery_days": 7`, "ShortPages": ""} {
		t.Run(name, func(t *testing.T) {
			sinktest.Store(t, func(t *testing.T) sinktest.Place {
				server := start(t)
				server.SetFaults(fakeaws.Faults{ShortPages: name == "ShortPages"})
				return sinktest.Place{
					Open: func(ctx context.Context, e ledger.Epoch) (projector.Store, error) {
						s, err := secretsmanager.Open(ctx, settings(server, e, more))
						if err != nil {
							return nil, err
						}
						return s.(projector.Store), nil
					},
					Fit:     func(e ledger.Epoch) (projector.Fit, error) { return secretsmanager.Fit(settings(server, e, more)) },
					Put:     func(t testing.TB, name, text string) { server.Secrets.Set(name, text) },
					Delete:  func(t testing.TB, name string) { server.Secrets.Remove(name) },
					Refused: write(1, "tenantconfig/empty", `""`),
				}
			})
		})
	}
}

func TestWrite_WhatSecretsHave(t *testing.T) {
	server := start(t)
	s := open(t, server, `, "strip": "secret_config_", "tags": {"tenant": "{tenant}"}`)
	first := write(7, "secret_config_db", `"hunter2"`)
	first.Route.KMSKey = "alias/config"
	must(t, s, first)
	is := secret(t, server, "stele/acme/db")
	if is.Value(fakeaws.Current) != "hunter2" || is.At(fakeaws.Current) != "stele-0102030405060708-00000000000000000007-string" || is.KMSKey != "alias/config" || is.Tags["tenant"] != "acme" {
		t.Errorf("the secret is %+v", is)
	}
	next := write(8, "secret_config_db", `{"user":"u","password":"p"}`)
	next.Route.KMSKey = "alias/other"
	must(t, s, next)
	is = secret(t, server, "stele/acme/db")
	if is.Value(fakeaws.Current) != `{"user":"u","password":"p"}` || is.Value(fakeaws.Previous) != "hunter2" || is.KMSKey != "alias/other" {
		t.Errorf("after another revision the secret is %+v", is)
	}
	must(t, s, next, first) // a replay, and what is older
	if again := secret(t, server, "stele/acme/db"); len(again.Versions) != 2 || again.Value(fakeaws.Current) != is.Value(fakeaws.Current) {
		t.Errorf("a replay leaves %+v", again)
	}
}

// A rotation makes a version of its own current: it is drift, and is adopted as a secret
// or replaced by the version that the ledger has already made.
func TestScan_RotationIsDrift(t *testing.T) {
	server := start(t)
	s := open(t, server, "")
	w := write(3, "db", `"before"`)
	must(t, s, w)
	server.Secrets.Set("stele/acme/db", "rotated")
	var found projector.Item
	if err := s.Scan(t.Context(), "acme", func(i projector.Item) error { found = i; return nil }); err != nil {
		t.Fatal(err)
	}
	if found.Revision != 0 || found.Value != `"rotated"` || !found.Secret || s.Same(found, w) {
		t.Errorf("a rotation is seen as %+v", found)
	}
	w.Replace = &found
	must(t, s, w)
	is := secret(t, server, "stele/acme/db")
	if is.Value(fakeaws.Current) != "before" || is.Value(fakeaws.Previous) != "rotated" || len(is.Versions) != 2 {
		t.Errorf("a repair leaves %+v", is)
	}
	adopted := write(4, "db", `"rotated"`)
	server.Secrets.Set("stele/acme/db", "rotated")
	must(t, s, adopted)
	if is := secret(t, server, "stele/acme/db"); is.Value(fakeaws.Current) != "rotated" || is.At(fakeaws.Current) != "stele-0102030405060708-00000000000000000004-string" {
		t.Errorf("an adoption leaves %+v", is)
	}
}

// A version that is made between look and write stays current.
func TestWrite_ChangedMeanwhile(t *testing.T) {
	server := start(t)
	s := open(t, server, "")
	must(t, s, write(1, "db", `"one"`))
	server.SetFaults(fakeaws.Faults{Before: func(operation string) {
		if operation == "UpdateSecretVersionStage" {
			server.Secrets.Set("stele/acme/db", "rotated")
		}
	}})
	next := write(2, "db", `"two"`)
	err := try(t, s, next)
	if _, refused := errors.AsType[*projector.RefusedError](err); err == nil || refused || !strings.Contains(err.Error(), "changed meanwhile") {
		t.Errorf("the write ends with %v", err)
	}
	if is := secret(t, server, "stele/acme/db"); is.Value(fakeaws.Current) != "rotated" {
		t.Errorf("the current version is %q", is.Value(fakeaws.Current))
	}
	server.SetFaults(fakeaws.Faults{})
	must(t, s, next)
	if is := secret(t, server, "stele/acme/db"); is.Value(fakeaws.Current) != "two" || is.Value(fakeaws.Previous) != "rotated" || len(is.Versions) != 3 {
		t.Errorf("after another try the secret is %+v", is)
	}
}

func TestWrite_DeletionCanBeRestored(t *testing.T) {
	server := start(t)
	s := open(t, server, `, "recovery_days": 7`)
	must(t, s, write(1, "db", `"one"`), write(2, "db", ""), write(2, "db", ""))
	is := secret(t, server, "stele/acme/db")
	if in := time.Until(is.Deleted); in < 6*24*time.Hour || in > 8*24*time.Hour {
		t.Errorf("the secret is gone in %s", in)
	}
	must(t, s, write(3, "db", `"three"`))
	if is := secret(t, server, "stele/acme/db"); !is.Deleted.IsZero() || is.Value(fakeaws.Current) != "three" || is.Value(fakeaws.Previous) != "one" {
		t.Errorf("the secret is %+v", is)
	}
	// The same value as before the deletion.
	must(t, s, write(4, "db", ""), write(5, "db", `"three"`))
	if is := secret(t, server, "stele/acme/db"); !is.Deleted.IsZero() || is.At(fakeaws.Current) != "stele-0102030405060708-00000000000000000005-string" {
		t.Errorf("the secret is %+v", is)
	}
}

// A revision whose value is another than before, as when a route shows a secret that it
// had masked, gets another version.
func TestWrite_SameRevisionOtherValue(t *testing.T) {
	server := start(t)
	s := open(t, server, "")
	must(t, s, write(1, "db", `"***"`), write(1, "db", `"open"`))
	is := secret(t, server, "stele/acme/db")
	if is.Value(fakeaws.Current) != "open" || !strings.HasPrefix(is.At(fakeaws.Current), "stele-0102030405060708-00000000000000000001-string-") {
		t.Errorf("the secret is %+v", is)
	}
	item, _, err := s.Read(t.Context(), "stele/acme/db")
	if err != nil || !s.Same(item, write(1, "db", `"open"`)) {
		t.Errorf("it is read as %+v, %v", item, err)
	}
}

// Faults fail whole calls or keys, are never refusals, never show the value, and heal.
func TestWrite_Faults(t *testing.T) {
	for name, c := range map[string]struct {
		faults fakeaws.Faults
		says   string
	}{
		"Throttled":      {fakeaws.Faults{Throttled: 1}, "ThrottlingException"},
		"Broken":         {fakeaws.Faults{Broken: 1, Operations: []string{"PutSecretValue"}}, "InternalServerError"},
		"PutLost":        {fakeaws.Faults{Lost: 1, Operations: []string{"PutSecretValue"}}, "write a version of"},
		"MoveLost":       {fakeaws.Faults{Lost: 1, Operations: []string{"UpdateSecretVersionStage"}}, "make a version of"},
		"MayNotWrite":    {fakeaws.Faults{Denied: []string{"PutSecretValue"}}, "allow it in the policy"},
		"MayNotMove":     {fakeaws.Faults{Denied: []string{"UpdateSecretVersionStage"}}, "allow it in the policy"},
		"MayNotRead":     {fakeaws.Faults{Denied: []string{"GetSecretValue"}}, "allow it in the policy"},
		"KeyOfKMSIsGone": {fakeaws.Faults{DeadKeys: []string{"alias/config"}}, "KMS key"},
	} {
		t.Run(name, func(t *testing.T) {
			server := start(t)
			s := open(t, server, "")
			first, next := write(1, "db", `"one"`), write(2, "db", `"hunter2"`)
			first.Route.KMSKey, next.Route.KMSKey = "alias/config", "alias/config"
			must(t, s, first)
			server.SetFaults(c.faults)
			err := try(t, s, next)
			if _, refused := errors.AsType[*projector.RefusedError](err); err == nil || refused || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("it ends with %v, want %q", err, c.says)
			}
			server.SetFaults(fakeaws.Faults{})
			must(t, s, next)
			if is := secret(t, server, "stele/acme/db"); is.Value(fakeaws.Current) != "hunter2" || is.Value(fakeaws.Previous) != "one" || len(is.Versions) != 2 {
				t.Errorf("after the fault the secret is %+v", is)
			}
		})
	}
}

// A list that does not know of changes yet costs only time: Read is exact.
func TestScan_StaleListAndUnreadableSecrets(t *testing.T) {
	server := start(t)
	s := open(t, server, "")
	bad := write(1, "b", `1`)
	bad.Route.KMSKey = "alias/config"
	must(t, s, write(1, "a", `1`), bad)
	scan := func() map[ledger.Key]error {
		seen := make(map[ledger.Key]error)
		if err := s.Scan(t.Context(), "acme", func(i projector.Item) error { seen[i.Key] = i.Err; return nil }); err != nil {
			t.Fatal(err)
		}
		return seen
	}
	server.SetFaults(fakeaws.Faults{DescribedAt: time.Now().Add(-time.Hour)})
	if seen := scan(); len(seen) != 0 {
		t.Errorf("a stale list yields %v", seen)
	}
	if item, ok, err := s.Read(t.Context(), "stele/acme/a"); !ok || err != nil || !s.Same(item, write(1, "a", `1`)) {
		t.Errorf("Read finds %+v, %v, %v", item, ok, err)
	}
	server.SetFaults(fakeaws.Faults{DeadKeys: []string{"alias/config"}})
	if seen := scan(); len(seen) != 2 || seen["a"] != nil || seen["b"] == nil {
		t.Errorf("the scan yields %v", seen)
	}
	server.SetFaults(fakeaws.Faults{})
	scan()
	before := server.Calls("GetSecretValue")
	scan()
	if n := server.Calls("GetSecretValue") - before; n != 0 {
		t.Errorf("a sweep of unchanged secrets reads %d of them", n)
	}
}

func TestSettings(t *testing.T) {
	t.Setenv("AWS_REGION", "us-east-1")
	for text, want := range map[string]string{
		`{}`: "", `{"prefix":"a/b","strip":"secret_config_","recovery_days":30,"rate":1.5,"reads":3}`: "",
		`{"recovery_days":3}`: "recovery_days", `{"rate":-1}`: "rate", `{"prefix":"/"}`: "prefix", `{"strip":" "}`: "strip", `{"tags":{"aws:x":""}}`: "tags", `{"bucket":"b"}`: "bucket",
	} {
		_, err := secretsmanager.Open(t.Context(), projector.Settings{Name: "secrets", Local: true, JSON: []byte(text)})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
