package s3_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/fakeaws"
	"github.com/stelehq/stele/internal/projector/s3"
)

// Faults of S3 fail whole calls or keys, are never refusals, and heal.
func TestWrite_Faults(t *testing.T) {
	for name, c := range map[string]struct {
		faults fakeaws.Faults
		whole  bool
		says   string
	}{
		"Throttled":       {fakeaws.Faults{Throttled: 1}, true, "StatusCode: 503"},
		"Broken":          {fakeaws.Faults{Broken: 1, Operations: []string{"PutObject"}}, true, "InternalError"},
		"AnswerLost":      {fakeaws.Faults{Lost: 1, Operations: []string{"PutObject"}}, true, "put stele/acme/a"},
		"MayNotWrite":     {fakeaws.Faults{Denied: []string{"PutObject"}}, false, "allow it in the policy"},
		"KeyOfKMSIsGone":  {fakeaws.Faults{DeadKeys: []string{"alias/config"}}, false, "enable the KMS key"},
		"MayNotDelete":    {fakeaws.Faults{Denied: []string{"DeleteObject"}}, false, "delete stele/acme/gone"},
		"MayNotLookAtAny": {fakeaws.Faults{Denied: []string{"HeadObject"}}, false, "look at stele/acme/a"},
	} {
		t.Run(name, func(t *testing.T) {
			server := start(t, true)
			s := open(t, server, "")
			must(t, s, write(1, "gone", `1`))
			server.SetFaults(c.faults)
			set := write(2, "a", `"x"`)
			set.Route.Secure, set.Route.KMSKey = true, "alias/config"
			writes := []projector.Write{set, write(2, "gone", "")}
			errs, err := s.Write(t.Context(), writes)
			if (err != nil) != c.whole {
				t.Fatalf("the call ends with %v", err)
			}
			all := errors.Join(append(errs, err)...)
			if all == nil || !strings.Contains(all.Error(), c.says) {
				t.Errorf("it says %v, want %q", all, c.says)
			}
			if _, refused := errors.AsType[*projector.RefusedError](all); refused {
				t.Errorf("%v counts as refused: nothing would try it again soon", all)
			}
			server.SetFaults(fakeaws.Faults{})
			must(t, s, writes...)
			if o, _ := server.Objects.Get(bucket, "stele/acme/a"); string(o.Body) != "x" {
				t.Errorf("after the fault the object is %q", o.Body)
			}
			if v := server.Objects.Versions(bucket, "stele/acme/a"); len(v) != 1 {
				t.Errorf("the object has %d versions", len(v))
			}
			if _, ok := server.Objects.Get(bucket, "stele/acme/gone"); ok {
				t.Error("the deleted key's object exists")
			}
		})
	}
}

func TestWrite_MissingBucket(t *testing.T) {
	server := start(t, true)
	cfg := settings(server, epoch, "")
	cfg.JSON = []byte(strings.Replace(string(cfg.JSON), `"config"`, `"other"`, 1))
	sink, err := s3.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	other := sink.(projector.Store)
	if _, err := other.Write(t.Context(), []projector.Write{write(1, "a", `1`)}); err == nil || !strings.Contains(err.Error(), "no such bucket") {
		t.Fatalf("%v", err)
	}
	server.Objects.MakeBucket("other", false)
	must(t, other, write(1, "a", `1`))
	if w := other.(projector.Warner).Warnings(); len(w) != 0 {
		t.Errorf("it warns before it looks again: %v", w)
	}
}

// An object that cannot be read keeps no other from being compared.
func TestScan_UnreadableObject(t *testing.T) {
	server := start(t, true)
	s := open(t, server, "")
	secure := write(1, "b", `1`)
	secure.Route.Secure, secure.Route.KMSKey = true, "alias/config"
	must(t, s, write(1, "a", `1`), secure, write(1, "c", `1`))
	server.SetFaults(fakeaws.Faults{DeadKeys: []string{"alias/config"}})
	seen := make(map[string]error)
	if err := s.Scan(t.Context(), "acme", func(i projector.Item) error { seen[string(i.Key)] = i.Err; return nil }); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 3 || seen["a"] != nil || seen["c"] != nil || seen["b"] == nil || !strings.Contains(seen["b"].Error(), "enable the KMS key") {
		t.Errorf("the scan yields %v", seen)
	}
}

func TestWarnings(t *testing.T) {
	for name, c := range map[string]struct {
		versioned bool
		denied    []string
		want      string
	}{
		"Versioned":    {true, nil, ""},
		"Unversioned":  {false, nil, "keeps no old versions"},
		"MayNotLookAt": {true, []string{"GetBucketVersioning"}, "not allowed to call s3:GetBucketVersioning"},
	} {
		t.Run(name, func(t *testing.T) {
			server := start(t, c.versioned)
			server.SetFaults(fakeaws.Faults{Denied: c.denied})
			s := open(t, server, "")
			must(t, s, write(1, "a", `1`))
			must(t, s, write(2, "a", `2`))
			got := strings.Join(s.(projector.Warner).Warnings(), "\n")
			if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
				t.Errorf("it warns %q, want %q", got, c.want)
			}
			if n := server.Calls("GetBucketVersioning"); n != 1 {
				t.Errorf("it looks %d times", n)
			}
		})
	}
}
