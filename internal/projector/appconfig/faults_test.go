package appconfig_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/fakeaws"
)

func deployedText(t testing.TB, server *fakeaws.Server) string {
	t.Helper()
	v, ok := server.AppConfig.Deployed(app, env, profile)
	if !ok {
		t.Fatal("nothing is deployed")
	}
	return string(v.Content)
}

// While a deployment runs, changes wait without a new version, and go together afterwards.
func TestWrite_WaitsForTheRunningDeployment(t *testing.T) {
	server := start(t)
	s := open(t, server, "")
	server.SetFaults(fakeaws.Faults{Baking: true})
	must(t, s, write(1, "a", `1`))
	for rev := range ledger.Revision(5) {
		w := write(rev+2, "b", ledger.Value(fmt.Sprint(rev)))
		errs := try(t, s, write(1, "a", `1`), w)
		if errs[0] != nil {
			t.Errorf("what is deployed already fails: %v", errs[0])
		}
		var refused *projector.RefusedError
		if errs[1] == nil || errors.As(errs[1], &refused) || !strings.Contains(errs[1].Error(), "BAKING") {
			t.Errorf("while a deployment runs: %v", errs[1])
		}
	}
	if n := len(server.AppConfig.Versions(app, profile)); n != 1 {
		t.Errorf("%d versions were made", n)
	}
	server.SetFaults(fakeaws.Faults{})
	must(t, s, write(6, "b", `4`))
	if text := deployedText(t, server); !strings.Contains(text, `"b": 4`) || server.AppConfig.Deployments(app, env) != 2 {
		t.Errorf("%d deployments, the last of %s", server.AppConfig.Deployments(app, env), text)
	}
}

// Another party's deployment, and a rollback, are drift: they change what agents get.
func TestScan_SeesWhatIsInEffect(t *testing.T) {
	server := start(t)
	s := open(t, server, "")
	old, now := write(1, "a", `1`), write(2, "a", `2`)
	must(t, s, old)
	must(t, s, now)
	same := func(w projector.Write) bool {
		t.Helper()
		name, err := s.Name(w.Tenant, w.Key)
		if err != nil {
			t.Fatal(err)
		}
		item, ok, err := s.Read(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return ok && s.Same(item, w)
	}
	server.AppConfig.Deploy(app, env, profile, nil) // the oldest version
	if same(now) || !same(old) {
		t.Error("an older version was deployed by hand, and is not seen")
	}
	must(t, s, now)
	server.AppConfig.RollBack(app, env)
	if same(now) || !same(old) {
		t.Error("the deployment was rolled back, which is not seen")
	}
	must(t, s, now)
	if !same(now) {
		t.Error("the write has no effect after a rollback")
	}
	server.AppConfig.Deploy(app, env, profile, []byte("enabled: true\n"))
	if err := s.Scan(t.Context(), "acme", func(i projector.Item) error { return errors.New(i.Name) }); err != nil {
		t.Errorf("what is not a document has items: %v", err)
	}
	must(t, s, now)
	if !same(now) {
		t.Error("the write does not replace what is not a document")
	}
	server.AppConfig.RemoveApplication(app)
	for range 2 { // the first one finds out
		try(t, s, now)
	}
	if !same(now) {
		t.Error("a removed application is not created again")
	}
}

// An edit between the read and the write is not overwritten unseen.
func TestWrite_IsConditional(t *testing.T) {
	for _, operation := range []string{"CreateHostedConfigurationVersion", "StartDeployment"} {
		t.Run(operation, func(t *testing.T) {
			server := start(t)
			s := open(t, server, "")
			must(t, s, write(1, "a", `1`))
			done := false
			server.SetFaults(fakeaws.Faults{Before: func(o string) {
				if o == operation && !done {
					done = true
					edit(t, server, app, func(all map[string]jsontext.Value) { all["theirs"] = jsontext.Value(`true`) })
				}
			}})
			if err := try(t, s, write(2, "a", `2`))[0]; err == nil || !strings.Contains(err.Error(), "has changed") {
				t.Errorf("the write: %v", err)
			}
			if text := deployedText(t, server); !strings.Contains(text, "theirs") {
				t.Errorf("the edit was lost: %s", text)
			}
			must(t, s, write(2, "a", `2`))
			if text := deployedText(t, server); !strings.Contains(text, "theirs") || !strings.Contains(text, `"a": 2`) {
				t.Errorf("after another try: %s", text)
			}
		})
	}
}

func TestWrite_Faults(t *testing.T) {
	for name, faults := range map[string]fakeaws.Faults{
		"Throttled": {Throttled: 1}, "Broken": {Broken: 1}, "Lost": {Lost: 1},
	} {
		t.Run(name, func(t *testing.T) {
			server := start(t)
			s := open(t, server, "")
			must(t, s, write(1, "a", `1`))
			server.SetFaults(faults)
			if _, err := s.Write(t.Context(), []projector.Write{write(2, "a", `2`)}); err == nil {
				t.Error("the call does not fail")
			}
			server.SetFaults(fakeaws.Faults{})
			must(t, s, write(2, "a", `2`))
		})
	}
	// A denied deployment is retried with the version that it left.
	server := start(t)
	s := open(t, server, "")
	server.SetFaults(fakeaws.Faults{Denied: []string{"StartDeployment"}})
	var refused *projector.RefusedError
	for range 5 {
		if err := try(t, s, write(1, "a", `1`))[0]; err == nil || errors.As(err, &refused) || !strings.Contains(err.Error(), "projector's role") {
			t.Errorf("denied: %v", err)
		}
	}
	if n := len(server.AppConfig.Versions(app, profile)); n != 1 {
		t.Errorf("%d versions were made", n)
	}
	server.SetFaults(fakeaws.Faults{})
	must(t, s, write(1, "a", `1`))
}

// Every answer may be lost after the call had its effect: a repetition converges.
func TestWrite_LostAnswers(t *testing.T) {
	server := start(t)
	s := open(t, server, "")
	for _, operation := range []string{"CreateApplication", "CreateEnvironment", "CreateConfigurationProfile", "CreateHostedConfigurationVersion", "StartDeployment"} {
		server.SetFaults(fakeaws.Faults{Lost: 1, Operations: []string{operation}})
		if _, err := s.Write(t.Context(), []projector.Write{write(1, "a", `1`)}); err == nil {
			t.Errorf("%s: the call does not fail", operation)
		}
	}
	server.SetFaults(fakeaws.Faults{})
	must(t, s, write(1, "a", `1`))
	if n, v := server.AppConfig.Deployments(app, env), len(server.AppConfig.Versions(app, profile)); n != 1 || v != 1 || server.Calls("CreateApplication") != 1 {
		t.Errorf("%d deployments, %d versions, %d applications", n, v, server.Calls("CreateApplication"))
	}
}

// AppConfig keeps 100 versions at most; old ones are deleted, and denial is a warning.
func TestPrune(t *testing.T) {
	server := start(t)
	s := open(t, server, "")
	for rev := range ledger.Revision(120) {
		must(t, s, write(rev+1, "a", ledger.Value(fmt.Sprint(rev))))
	}
	if n := len(server.AppConfig.Versions(app, profile)); n < 50 || n > 60 {
		t.Errorf("%d versions are kept", n)
	}
	server.SetFaults(fakeaws.Faults{Denied: []string{"DeleteHostedConfigurationVersion"}})
	must(t, s, write(200, "a", `200`))
	if w := s.(projector.Warner).Warnings(); len(w) != 1 || !strings.Contains(w[0], "DeleteHostedConfigurationVersion") {
		t.Errorf("warnings: %q", w)
	}
	server.SetFaults(fakeaws.Faults{})
	must(t, s, write(201, "a", `201`))
	if w := s.(projector.Warner).Warnings(); len(w) != 0 {
		t.Errorf("warnings once it is allowed: %q", w)
	}
}

// A document without room for a key holds the others, and takes the key once there is.
func TestWrite_DocumentIsFull(t *testing.T) {
	server := start(t)
	s := open(t, server, `, "max_bytes": 1000`)
	long := ledger.Value(`"` + strings.Repeat("x", 400) + `"`)
	errs := try(t, s, write(1, "a", long), write(1, "b", long), write(1, "c", long), write(1, "d", `1`))
	var refused *projector.RefusedError
	if errs[0] != nil || errs[1] != nil || errs[3] != nil || !errors.As(errs[2], &refused) || !strings.Contains(refused.Reason, "max_bytes") {
		t.Fatalf("%v", errs)
	}
	must(t, s, write(2, "a", ``), write(1, "c", long))
	if text := deployedText(t, server); len(text) > 1000 || !strings.Contains(text, `"c":`) || strings.Contains(text, `"a":`) {
		t.Errorf("%d bytes: %s", len(text), text)
	}
}

// Two applications of one name cannot be distinguished, and a profile of another kind is not
// written to. Neither stops other tenants.
func TestWrite_UnusablePlace(t *testing.T) {
	server := start(t)
	client := newClient(server)
	for range 2 {
		client.application(t, app)
	}
	foreign := client.application(t, "stele-globex")
	client.profile(t, foreign, profile, "ssm-parameter://x")
	s := open(t, server, "")
	for tenant, want := range map[ledger.Tenant]string{"acme": "two applications", "globex": "not hosted"} {
		w := write(1, "a", `1`)
		w.Tenant = tenant
		var refused *projector.RefusedError
		if err := try(t, s, w)[0]; err == nil || errors.As(err, &refused) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", tenant, err)
		}
	}
	fine := write(1, "a", `1`)
	fine.Tenant = "initech"
	must(t, s, fine)
}
