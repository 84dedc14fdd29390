package parameterstore

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/internal/projector/fakeaws"
)

func TestSteps_VersionsInOrderOfTime(t *testing.T) {
	aws, err := fakeaws.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer aws.Close()
	for _, e := range aws.Environ() {
		name, value, _ := strings.Cut(e, "=")
		t.Setenv(name, value)
	}
	now := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	put := func(name, value string, more ...func(*fakeaws.Version)) {
		t.Helper()
		if err := aws.Parameters.Edit(name, func(v *fakeaws.Version) {
			now = now.Add(time.Second)
			v.Value, v.Modified = value, now
			for _, f := range more {
				f(v)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	put("/acme/prod/checkout/timeout_ms", "250")
	put("/acme/prod/db/password", "hunter2", func(v *fakeaws.Version) { v.Type = fakeaws.SecureString })
	put("/acme/prod/checkout/timeout_ms", "300")
	put("/globex/prod/checkout/timeout_ms", "1")
	for i := range 70 { // more than a page of histories and of parameters
		put("/acme/prod/many", fmt.Sprint(i))
		put(fmt.Sprintf("/acme/prod/p%02d", i), "x")
	}
	s, err := Open(t.Context(), "/acme/")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	many, ids := 0, make(map[string]bool)
	for step, err := range s.Steps(t.Context()) {
		if err != nil || step.Time.IsZero() || step.Author == "" || len(step.Items) != 1 {
			t.Fatalf("a step is %+v, %v", step, err)
		}
		i := step.Items[0]
		if ids[step.ID] {
			t.Errorf("%s is there twice", step.ID)
		}
		ids[step.ID] = true
		switch {
		case i.Name == "/acme/prod/many":
			if i.Value != fmt.Sprint(many) {
				t.Fatalf("version %d of many is %s", many+1, i.Value)
			}
			many++
		case !strings.HasPrefix(i.Name, "/acme/prod/p"):
			listed = append(listed, fmt.Sprintf("%s: %s=%s %v", step.Message, i.Name, i.Value, i.Secret))
		}
	}
	want := []string{
		"/acme/prod/checkout/timeout_ms version 1: /acme/prod/checkout/timeout_ms=250 false",
		"/acme/prod/db/password version 1: /acme/prod/db/password=hunter2 true",
		"/acme/prod/checkout/timeout_ms version 2: /acme/prod/checkout/timeout_ms=300 false",
	}
	if d := cmp.Diff(want, listed); d != "" || many != 70 || len(ids) != 3+70+70 {
		t.Errorf("%d steps, %d versions of many (-want +got):\n%s", len(ids), many, d)
	}
}
