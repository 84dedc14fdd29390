package permissions

import (
	"fmt"
	"io"
	"strings"
)

// WriteConfig writes the account in the format of a nats-server's configuration. Each
// user's public nkey comes from the environment; see Variable.
func WriteConfig(w io.Writer, a AccountOf) error {
	var b strings.Builder
	line := func(depth int, format string, args ...any) {
		fmt.Fprintf(&b, strings.Repeat("  ", depth)+format+"\n", args...)
	}
	allow := func(name string, subjects []string) {
		line(5, "%s: {", name)
		line(6, "allow: [")
		for _, s := range subjects {
			line(7, "%q", s)
		}
		line(6, "]")
		line(5, "}")
	}
	line(0, "accounts {")
	line(1, "%s {", a.Name)
	line(2, "jetstream: enabled")
	line(2, "users: [")
	for _, u := range a.Users {
		line(3, "{ # %s", u.Name)
		line(4, "nkey: $%s", Variable(u.Name))
		line(4, "permissions: {")
		allow("publish", u.Publish.Allow)
		allow("subscribe", u.Subscribe.Allow)
		if u.Responses != nil {
			line(5, "allow_responses: { max: %d, expires: %q }", u.Responses.Max, u.Responses.Expires)
		}
		line(4, "}")
		line(3, "}")
	}
	line(2, "]")
	line(1, "}")
	line(0, "}")
	_, err := io.WriteString(w, b.String())
	return err
}

// Variable is the name of the environment variable with a user's public nkey.
func Variable(user string) string {
	return "STELE_NKEY_" + strings.ToUpper(strings.NewReplacer("+", "_", "-", "_").Replace(user))
}
