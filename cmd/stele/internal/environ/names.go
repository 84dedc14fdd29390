// Package environ gives a program its settings as environment variables, and
// runs it again when they change.
package environ

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
)

// Variables names and writes the settings below a prefix, sorted, as NAME=value. The
// name is the rest of the key in upper case, with "_" for characters that a name cannot
// have; a JSON string is written without quotes, anything else as JSON. Two keys with
// the same name are an error, and so is a string with a zero byte.
func (n Names) Variables(prefix string, settings map[ledger.Key]ledger.Value) ([]string, error) {
	keys := make([]string, 0, len(settings))
	for k := range settings {
		keys = append(keys, string(k))
	}
	sort.Strings(keys)
	from := make(map[string]string, len(keys))
	vars := make([]string, 0, len(keys))
	for _, k := range keys {
		name := n.Prefix + Name(prefix, k)
		if other, taken := from[name]; taken {
			return nil, fmt.Errorf("%s and %s would both be %s", other, k, name)
		}
		if err := n.check(k, name); err != nil {
			return nil, err
		}
		from[name] = k
		v := Bare(settings[ledger.Key(k)])
		if strings.ContainsRune(v, 0) {
			return nil, fmt.Errorf("%s holds a zero byte, which a variable cannot", k)
		}
		vars = append(vars, name+"="+v)
	}
	return vars, nil
}

// Name is the variable for a key below the prefix.
func Name(prefix, key string) string {
	rest := strings.TrimPrefix(strings.TrimPrefix(key, prefix), "/")
	name := strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z':
			return c - 'a' + 'A'
		case 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
			return c
		}
		return '_'
	}, rest)
	if name[0] >= '0' && name[0] <= '9' {
		// A shell knows no name that begins with a digit.
		name = "_" + name
	}
	return name
}

// Bare is a JSON string without its quotes and escapes, and all else as it is.
func Bare(v ledger.Value) string {
	if strings.HasPrefix(string(v), `"`) {
		var s string
		if json.Unmarshal([]byte(v), &s) == nil {
			return s
		}
	}
	return string(v)
}
