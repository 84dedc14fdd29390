package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The test binary is the program if an environment variable says so.
func TestMain(m *testing.M) {
	if os.Getenv("STELE_LAMBDA_TEST") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func program(t *testing.T, env ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(env, "STELE_LAMBDA_TEST=1")
	return cmd
}

func TestMain_NamesMissingVariables(t *testing.T) {
	out, err := program(t).CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("STELE_REFRESH_TARGETS")) {
		t.Errorf("%v: %s", err, out)
	}
}

// The program implements Lambda's runtime API: it takes an event, and reports the
// outcome. https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
func TestMain_RunsInLambda(t *testing.T) {
	type answer struct{ path, body string }
	answers := make(chan answer)
	next := make(chan string, 2)
	lambda := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/invocation/next") {
			select {
			case e := <-next:
				w.Header().Set("Lambda-Runtime-Aws-Request-Id", "one")
				w.Header().Set("Lambda-Runtime-Deadline-Ms", "99999999999999")
				io.WriteString(w, e)
			case <-r.Context().Done():
			}
			return
		}
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusAccepted)
		answers <- answer{r.URL.Path, string(body)}
	}))
	t.Cleanup(lambda.Close)

	cmd := program(t,
		"AWS_LAMBDA_RUNTIME_API="+strings.TrimPrefix(lambda.URL, "http://"),
		"STELE_REFRESH_TARGETS={}", "STELE_REFRESH_SECRET=correct-horse-battery")
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})

	next <- `{"id":"7","detail-type":"Configuration Changed","source":"stele","detail":{"tenant":"acme","key":"a","operation":"set","revision":1}}`
	if a := <-answers; !strings.HasSuffix(a.path, "/invocation/one/response") {
		t.Errorf("a change without a target was sent: %s %s", a.path, a.body)
	}
	next <- `{"id":"7","detail-type":"Tea Time","source":"stele","detail":{}}`
	if a := <-answers; !strings.HasSuffix(a.path, "/invocation/one/error") || !strings.Contains(a.body, "Tea Time") {
		t.Errorf("an unknown event: %s %s", a.path, a.body)
	}
}
