// Package text reads the text formats of configuration files that are neither YAML nor
// JSON.
package text

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// The byte order marks that files begin with.
var (
	markUTF8    = []byte{0xef, 0xbb, 0xbf}
	markUTF16LE = []byte{0xff, 0xfe}
	markUTF16BE = []byte{0xfe, 0xff}
)

// UTF8 returns a file's text as UTF-8, without a byte order mark. UTF-16 is known by its
// mark, or by the zero byte that every other character has in JSON.
func UTF8(data []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(data, markUTF8):
		data = data[len(markUTF8):]
	case bytes.HasPrefix(data, markUTF16LE):
		return fromUTF16(data[2:], binary.LittleEndian)
	case bytes.HasPrefix(data, markUTF16BE):
		return fromUTF16(data[2:], binary.BigEndian)
	case len(data) >= 2 && data[0] != 0 && data[1] == 0:
		return fromUTF16(data, binary.LittleEndian)
	case len(data) >= 2 && data[0] == 0 && data[1] != 0:
		return fromUTF16(data, binary.BigEndian)
	}
	if !utf8.Valid(data) {
		return nil, errors.New("it is neither UTF-8 nor UTF-16 text")
	}
	return data, nil
}

func fromUTF16(data []byte, order binary.ByteOrder) ([]byte, error) {
	if len(data)%2 != 0 {
		return nil, errors.New("it looks like UTF-16 and ends inside a character")
	}
	units := make([]uint16, len(data)/2)
	for i := range units {
		units[i] = order.Uint16(data[2*i:])
	}
	return []byte(string(utf16.Decode(units))), nil
}

// fields makes a mapping of names and texts; a name that occurs again is an error.
type fields struct {
	root *yaml.Node
	seen map[string]int
}

func (f *fields) add(line int, name, value string) error {
	if f.root == nil {
		f.root = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: line}
		f.seen = make(map[string]int)
	}
	if first, twice := f.seen[name]; twice {
		return fmt.Errorf("line %d: %q occurs twice, first in line %d", line, name, first)
	}
	f.seen[name] = line
	text := func(s string) *yaml.Node {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: s, Line: line}
	}
	f.root.Content = append(f.root.Content, text(name), text(value))
	return nil
}

// Properties reads a Java properties file: a mapping whose values are strings. The
// result is nil for a file of comments only.
func Properties(data []byte) (*yaml.Node, error) {
	var f fields
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(data)), "\n")
	for i := 0; i < len(lines); i++ {
		number := i + 1
		line := strings.TrimLeft(lines[i], " \t\f")
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		for continued(line) && i+1 < len(lines) {
			i++
			line = line[:len(line)-1] + strings.TrimLeft(lines[i], " \t\f")
		}
		end := 0 // of the name
		for end < len(line) && !strings.ContainsRune("=: \t\f", rune(line[end])) {
			if line[end] == '\\' {
				end++
			}
			end++
		}
		end = min(end, len(line))
		rest := strings.TrimLeft(line[end:], " \t\f")
		if rest != "" && (rest[0] == '=' || rest[0] == ':') {
			rest = strings.TrimLeft(rest[1:], " \t\f")
		}
		name, err := unescape(line[:end])
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		value, err := unescape(rest)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if err := f.add(number, name, value); err != nil {
			return nil, err
		}
	}
	return f.root, nil
}

// continued reports whether a line ends in an odd number of backslashes.
func continued(line string) bool {
	return (len(line)-len(strings.TrimRight(line, `\`)))%2 == 1
}

func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var units []uint16
	var out strings.Builder
	flush := func() {
		out.WriteString(string(utf16.Decode(units)))
		units = units[:0]
	}
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			flush()
			if s[i] != '\\' {
				out.WriteByte(s[i])
			}
			continue
		}
		i++
		if s[i] == 'u' {
			n, err := strconv.ParseUint(s[i+1:min(i+5, len(s))], 16, 16)
			if err != nil || i+5 > len(s) {
				return "", errors.New(`\u is not followed by four hexadecimal digits`)
			}
			units = append(units, uint16(n))
			i += 4
			continue
		}
		flush()
		if short := strings.IndexByte("tnrf", s[i]); short >= 0 {
			out.WriteByte("\t\n\r\f"[short])
		} else {
			out.WriteByte(s[i])
		}
	}
	flush()
	return out.String(), nil
}

// Env reads lines of NAME=VALUE, as Docker and direnv do: values are strings, in single
// quotes as they are, in double quotes with escapes. The result is nil for a file of
// comments only.
func Env(data []byte) (*yaml.Node, error) {
	var f fields
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "export "))
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, fmt.Errorf("line %d: it is not NAME=VALUE", i+1)
		}
		value, err := envValue(strings.TrimSpace(value))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		if err := f.add(i+1, name, value); err != nil {
			return nil, err
		}
	}
	return f.root, nil
}

func envValue(s string) (string, error) {
	if s == "" || s[0] != '"' && s[0] != '\'' {
		if i := strings.Index(s, " #"); i >= 0 {
			s = strings.TrimRight(s[:i], " \t")
		}
		return s, nil
	}
	quote := s[0]
	end := 1
	for end < len(s) && s[end] != quote {
		if s[end] == '\\' && quote == '"' {
			end++
		}
		end++
	}
	if end >= len(s) {
		return "", errors.New("a quote is not closed")
	}
	if rest := strings.TrimSpace(s[end+1:]); rest != "" && rest[0] != '#' {
		return "", errors.New("text follows the closing quote")
	}
	if quote == '\'' {
		return s[1:end], nil
	}
	return unescape(s[1:end])
}

// StripComments removes // and /* */ comments and commas before a closing bracket from
// JSON, and keeps line numbers. changed is false if there were none.
func StripComments(data []byte) (plain []byte, changed bool) {
	plain = bytes.Clone(data)
	blank := func(from, to int) {
		for i := from; i < to; i++ {
			if plain[i] != '\n' {
				plain[i] = ' '
			}
		}
		changed = true
	}
	comma := -1 // the last one, followed only by space
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
			comma = -1
		case c == '/' && i+1 < len(data) && data[i+1] == '/':
			end := len(data)
			if n := bytes.IndexByte(data[i:], '\n'); n >= 0 {
				end = i + n
			}
			blank(i, end)
			i = end - 1
		case c == '/' && i+1 < len(data) && data[i+1] == '*':
			end := len(data)
			if n := bytes.Index(data[i+2:], []byte("*/")); n >= 0 {
				end = i + 2 + n + 2
			}
			blank(i, end)
			i = end - 1
		case c == ',':
			comma = i
		case (c == ']' || c == '}') && comma >= 0:
			blank(comma, comma+1)
			comma = -1
		case c != ' ' && c != '\t' && c != '\n' && c != '\r':
			comma = -1
		}
	}
	return plain, changed
}
