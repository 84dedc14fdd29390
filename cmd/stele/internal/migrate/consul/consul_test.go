package consul

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/cmd/stele/internal/migrate"
)

// exported is what "consul kv export" of Consul 1.22 has printed, testdata/export.json.
var exported = []string{
	`config/acme/blob="\x00\x01\xff"`, `config/acme/checkout/hosts="[\"a\",\"b\"]"`, `config/acme/checkout/motd="hello, world"`,
	`config/acme/checkout/timeout_ms="250"`, `config/acme/empty=""`, `config/acme/flagged="true"`, `config/acme/with space="x"`,
	`config/globex/checkout/timeout_ms="300"`,
}

func items(t *testing.T, s *Source) (listed []string) {
	t.Helper()
	for step, err := range s.Steps(t.Context()) {
		if err != nil || !step.State {
			t.Fatalf("a step is %+v, %v", step, err)
		}
		for _, i := range step.Items {
			listed = append(listed, fmt.Sprintf("%s=%q", i.Name, i.Value))
		}
	}
	return listed
}

func TestOpen_Export(t *testing.T) {
	file, err := os.Open("testdata/export.json")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	s, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(exported, items(t, s)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestOpen_RejectsOtherFiles(t *testing.T) {
	for _, text := range []string{"", "{}", `[{"key":1}]`, `[{"key":"a","value":"%"}]`, `[{"key":"a"}`, `{"key":"a"}`} {
		if s, err := Read(strings.NewReader(text)); err == nil {
			t.Errorf("%s is taken as %v", text, s.items)
		}
	}
}

func FuzzRead(f *testing.F) {
	data, err := os.ReadFile("testdata/export.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(data))
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Read(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, i := range s.items {
			if i.Delete || i.Fault != nil || strings.HasSuffix(i.Name, "/") && i.Value == "" {
				t.Errorf("there is %+v", i)
			}
		}
	})
}

// The answers are those of an agent of Consul 1.22.
func TestOpen_Agent(t *testing.T) {
	answer, err := os.ReadFile("testdata/recurse.json")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("CONSUL_HTTP_TOKEN", "secret")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/kv/config/", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Consul-Token") != "secret" || !r.URL.Query().Has("recurse") {
			http.Error(w, "Permission denied", http.StatusForbidden)
			return
		}
		w.Write(answer)
	})
	mux.HandleFunc("GET /v1/kv/none/", http.NotFound)
	mux.Handle("GET /v1/kv/moved/", http.RedirectHandler("/v1/kv/config/?recurse", http.StatusFound))
	agent := httptest.NewServer(mux)
	defer agent.Close()

	s, err := Ask(t.Context(), agent.URL, "config/")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(exported, items(t, s)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if s, err := Ask(t.Context(), agent.URL+"/", "none/"); err != nil || len(s.items) != 0 {
		t.Errorf("of what is not there: %v, %v", s, err)
	}
	if _, err := Ask(t.Context(), agent.URL, "moved/"); err == nil || !strings.Contains(err.Error(), "302") {
		t.Errorf("a redirect is followed, with the token: %v", err)
	}
	t.Setenv("CONSUL_HTTP_TOKEN", "")
	if _, err := Ask(t.Context(), agent.URL, "config/"); err == nil || !strings.Contains(err.Error(), "Permission denied") {
		t.Errorf("without the token: %v", err)
	}
}

var _ migrate.Source = (*Source)(nil)
