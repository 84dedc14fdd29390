package document

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// parseEnv reads lines of NAME=VALUE as Docker Compose does: values are strings; in single
// quotes they are literal, in double quotes with escapes, and both may span lines. $NAME
// outside single quotes stands for a value from the same file; any other variable would
// depend on the environment, which is an error.
func parseEnv(data []byte) (*yaml.Node, []string, error) {
	p := envParser{rest: strings.ReplaceAll(string(data), "\r\n", "\n"), line: 1}
	for {
		p.skip(" \t\f\v\n")
		if p.rest == "" {
			return p.fields.root, p.fields.remarks, nil
		}
		at := p.line
		if err := p.statement(); err != nil {
			return nil, nil, fmt.Errorf("line %d: %w", at, err)
		}
	}
}

type envParser struct {
	rest string
	line int // of the beginning of rest
	fields
}

// take removes the first n bytes.
func (p *envParser) take(n int) string {
	taken := p.rest[:n]
	p.rest = p.rest[n:]
	p.line += strings.Count(taken, "\n")
	return taken
}

func (p *envParser) skip(space string) {
	p.take(len(p.rest) - len(strings.TrimLeft(p.rest, space)))
}

// takeLine removes the rest of the line.
func (p *envParser) takeLine() string {
	end := strings.IndexByte(p.rest, '\n')
	if end < 0 {
		end = len(p.rest)
	}
	return p.take(end)
}

var envName = regexp.MustCompile(`^(?:export[ \t]+)?([^\s=:#'"$]+)[ \t]*[=:][ \t]*`)

func (p *envParser) statement() error {
	if p.rest[0] == '#' {
		p.takeLine()
		return nil
	}
	at := p.line
	m := envName.FindStringSubmatch(p.rest)
	if m == nil {
		return errors.New("it is not NAME=VALUE")
	}
	p.take(len(m[0]))
	value, err := p.value()
	if err == nil {
		p.add(at, m[1], value)
	}
	return err
}

func (p *envParser) value() (string, error) {
	if p.rest == "" || p.rest[0] != '"' && p.rest[0] != '\'' {
		text := p.takeLine()
		if i := strings.Index(text, " #"); i >= 0 {
			text = text[:i]
		}
		return p.expand(strings.TrimRight(text, " \t\f\v"), false)
	}
	quote := p.rest[0]
	end := 1
	for end < len(p.rest) && p.rest[end] != quote {
		if p.rest[end] == '\\' {
			end++
		}
		end++
	}
	if end >= len(p.rest) {
		return "", errors.New("a quote is not closed")
	}
	text := p.take(end + 1)
	text = text[1 : len(text)-1]
	if more := strings.TrimSpace(p.takeLine()); more != "" && more[0] != '#' {
		return "", errors.New("text follows the closing quote")
	}
	if quote == '\'' {
		return strings.ReplaceAll(text, `\'`, `'`), nil
	}
	return p.expand(text, true)
}

// escapes in double quotes; a backslash before any other character is kept.
var escapes = map[byte]string{'n': "\n", 'r': "\r", 't': "\t", '\\': `\`, '"': `"`, '\'': `'`, '$': "$"}

// variable is $NAME, ${NAME}, ${NAME-default} or ${NAME:-default}.
var variable = regexp.MustCompile(`^\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)(?:(:?-)([^{}$]*))?\})`)

// expand replaces variables, and escapes if they count.
func (p *envParser) expand(s string, escaped bool) (string, error) {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		more := ""
		if i+1 < len(s) {
			more = s[i+1 : i+2]
		}
		switch {
		case s[i] == '\\' && escaped && more != "" && escapes[more[0]] != "":
			out.WriteString(escapes[more[0]])
			i++
		case s[i] == '$' && more == "$":
			out.WriteByte('$')
			i++
		case s[i] == '$':
			m := variable.FindStringSubmatch(s[i:])
			if m == nil {
				if more == "{" {
					return "", fmt.Errorf("%.40q is not ${NAME} or ${NAME:-default}: put the value in single quotes to keep its text", s[i:])
				}
				out.WriteByte('$')
				continue
			}
			value, err := p.variable(m)
			if err != nil {
				return "", err
			}
			out.WriteString(value)
			i += len(m[0]) - 1
		default:
			out.WriteByte(s[i])
		}
	}
	return out.String(), nil
}

// variable is the value of a match of variable.
func (p *envParser) variable(m []string) (string, error) {
	name, operator, fallback := m[1]+m[2], m[3], m[4]
	value, ok := p.fields.value(name)
	switch {
	case ok && (value != "" || operator != ":-"):
		return value, nil
	case operator != "":
		return fallback, nil
	}
	return "", fmt.Errorf("$%s is not set earlier in the file, so the value depends on the environment: put the value in single quotes to keep its text", name)
}
