package bridge

import (
	"context"
	"errors"
	"testing"

	"github.com/stelehq/stele/internal/netaddr"
)

// FuzzParseTargets reads lists of services. None that is read leads to a password in an
// address, or to another machine without TLS.
func FuzzParseTargets(f *testing.F) {
	for _, text := range []string{
		`{"tenantconfig/":["grpc://host:1","https://host/path"]}`, `{"":["http://127.0.0.1:8"]}`, `{"":["http://[::1]:8/x?y#z"]}`, `{"a":[],"b":null}`,
		`{"":["HTTP://LOCALHOST"]}`, `{"":["https://u:p@h"]}`, `{"":["grpc://h:"]}`, `{"":["https:///x"]}`, `{"a":["https://h"],"a":["https://i"]}`, `null`, `[]`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parseTargets(text)
		if err != nil {
			return
		}
		for _, to := range all {
			u := to.url
			plain := u.Scheme == "http" && !netaddr.IsLoopback(u.Hostname())
			if u.Hostname() == "" || u.User != nil || plain || u.Scheme != "grpc" && u.Scheme != "https" && u.Scheme != "http" {
				t.Errorf("%q has the target %s", text, u)
			}
			if u.Scheme == "grpc" && (u.Port() == "" || u.Path != "") {
				t.Errorf("%q has the target %s", text, u)
			}
		}
		_, err = FromEnvironment(t.Context(), func(name string) string {
			return map[string]string{targetsVariable: text, secretVariable: "secret"}[name]
		}, func(context.Context, string) (string, error) { return "", errors.New("none") })
		if err != nil && text != "" {
			t.Errorf("%q is a list of targets, and cannot be configured: %v", text, err)
		}
	})
}
