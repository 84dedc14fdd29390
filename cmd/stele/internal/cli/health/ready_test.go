package health

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestReady_ReportsTheServersAnswer(t *testing.T) {
	for _, test := range []struct {
		code       int
		path       string
		text, want string
	}{
		{http.StatusOK, "", "ok\n", ""},
		{http.StatusOK, "/readyz", "ok\n", ""},
		{http.StatusServiceUnavailable, "/", "the replica has not caught up\n", "not ready: the replica has not caught up"},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/readyz" {
				http.NotFound(w, r)
				return
			}
			w.WriteHeader(test.code)
			w.Write([]byte(test.text))
		}))
		cmd := ReadyCommand()
		var out strings.Builder
		cmd.SetOut(&out)
		cmd.SetArgs([]string{s.URL + test.path})
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		err := cmd.ExecuteContext(t.Context())
		s.Close()
		switch {
		case test.want == "" && (err != nil || out.String() != test.text):
			t.Errorf("it says %q, %v", out.String(), err)
		case test.want != "" && (err == nil || err.Error() != test.want):
			t.Errorf("it says %v, not %s", err, test.want)
		}
	}
}
