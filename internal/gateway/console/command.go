package console

import "strings"

// command is the equivalent command of a page: the words after "stele".
type command []string

// String is the command as a shell takes it.
func (c command) String() string {
	words := make([]string, len(c)+1)
	words[0] = "stele"
	for i, w := range c {
		words[i+1] = quote(w)
	}
	return strings.Join(words, " ")
}

// quote makes one word of a shell's of any text.
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

// command is what to type for this tenant and, unless it is the newest, this state.
func (v *visit) command(words ...string) command {
	c := command{"-t", string(v.tenant)}
	for _, w := range words {
		if w != "" {
			c = append(c, w)
		}
	}
	if v.at != 0 {
		c = append(c, "--at", revisionText(v.at))
	}
	return c
}
