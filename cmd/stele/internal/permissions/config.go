package permissions

import (
	"fmt"
	"io"
	"strings"
)

// WriteConfig writes the accounts as a nats-server's configuration has them. Each
// user's public nkey comes from the environment; see Variable.
func WriteConfig(w io.Writer, accounts []AccountOf) error {
	var b strings.Builder
	line := func(depth int, format string, args ...any) {
		fmt.Fprintf(&b, strings.Repeat("  ", depth)+format+"\n", args...)
	}
	list := func(depth int, name string, subjects []string) {
		line(depth, "%s: [", name)
		for _, s := range subjects {
			line(depth+1, "%q", s)
		}
		line(depth, "]")
	}
	rights := func(name string, r Rights) {
		line(5, "%s: {", name)
		list(6, "allow", r.Allow)
		if r.Deny != nil {
			list(6, "deny", r.Deny)
		}
		line(5, "}")
	}
	line(0, "accounts {")
	for _, a := range accounts {
		line(1, "%s {", a.Name)
		if a.JetStream {
			line(2, "jetstream: enabled")
		}
		line(2, "users: [")
		for _, u := range a.Users {
			line(3, "{ # %s", u.Name)
			line(4, "nkey: $%s", Variable(u.Name))
			line(4, "permissions: {")
			rights("publish", u.Publish)
			rights("subscribe", u.Subscribe)
			if u.Responses != nil {
				line(5, "allow_responses: { max: %d, expires: %q }", u.Responses.Max, u.Responses.Expires)
			}
			line(4, "}")
			line(3, "}")
		}
		line(2, "]")
		services(line, "exports", a.Exports, func(s Service) string {
			kind := ""
			if s.Stream {
				kind = ", response: stream"
			}
			return fmt.Sprintf("{ service: %q, accounts: [%s]%s }", s.Subject, s.Account, kind)
		})
		services(line, "imports", a.Imports, func(s Service) string {
			return fmt.Sprintf("{ service: { account: %s, subject: %q }, to: %q }", s.Account, s.Subject, s.To)
		})
		line(1, "}")
	}
	line(0, "}")
	_, err := io.WriteString(w, b.String())
	return err
}

func services(line func(int, string, ...any), name string, all []Service, text func(Service) string) {
	if all == nil {
		return
	}
	line(2, "%s: [", name)
	for _, s := range all {
		line(3, "%s", text(s))
	}
	line(2, "]")
}

// Variable is the name of the environment's variable with a user's public nkey.
func Variable(user string) string {
	return "STELE_NKEY_" + strings.ToUpper(strings.NewReplacer("+", "_", "-", "_").Replace(user))
}
