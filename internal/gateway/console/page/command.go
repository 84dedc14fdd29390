package page

import "strings"

// Command is the equivalent command of a page: the words after "stele".
type Command []string

// String is the command as a shell takes it.
func (c Command) String() string {
	words := make([]string, len(c)+1)
	words[0] = "stele"
	for i, w := range c {
		words[i+1] = quote(w)
	}
	return strings.Join(words, " ")
}

// quote makes any text one word of a shell.
func quote(s string) string {
	plain := s != ""
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./@:,+=%", r)) {
			plain = false
		}
	}
	if plain {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// CommandAsOf is a revision or time as an argument of the command line; empty for none.
func CommandAsOf(s string) string {
	if s == "" || strings.HasPrefix(s, "@") {
		return s
	}
	return "@" + s
}

// Command is a command for the tenant, without its empty words.
func (a Address) Command(words ...string) Command {
	c := Command{"-t", string(a.Tenant)}
	for _, w := range words {
		if w != "" {
			c = append(c, w)
		}
	}
	return c
}

// ReadCommand is a command that reads the state of the address.
func (a Address) ReadCommand(words ...string) Command {
	c := a.Command(words...)
	if a.At != 0 {
		c = append(c, "--at", a.At.String()[1:])
	}
	return c
}
