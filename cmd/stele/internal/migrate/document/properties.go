package document

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"

	"go.yaml.in/yaml/v3"
)

// parseProperties reads a properties file as java.util.Properties does: a mapping whose
// values are strings. As in Spring Boot, a line #--- or !--- begins another document.
func parseProperties(data []byte) (*yaml.Node, []string, error) {
	var docs []*yaml.Node
	var f fields
	var remarks []string
	end := func() {
		if f.root != nil {
			docs = append(docs, f.root)
		}
		remarks = append(remarks, f.remarks...)
		f = fields{}
	}
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(data)), "\n")
	for i := 0; i < len(lines); i++ {
		number := i + 1
		line := strings.TrimLeft(lines[i], propertySpace)
		if line == "" || line[0] == '#' || line[0] == '!' {
			if separates(lines, i) {
				end()
			}
			continue
		}
		if line == `\` { // the next line is as good as a first one
			continue
		}
		for continued(line) && i+1 < len(lines) {
			i++
			line = line[:len(line)-1] + strings.TrimLeft(lines[i], propertySpace)
		}
		name, value := cutProperty(line)
		name, err := unescape(name)
		if err != nil {
			return nil, nil, fmt.Errorf("line %d: %w", number, err)
		}
		if value, err = unescape(value); err != nil {
			return nil, nil, fmt.Errorf("line %d: %w", number, err)
		}
		f.add(number, name, value)
	}
	end()
	return listOf(docs), remarks, nil
}

// propertySpace is the white space of a properties file.
const propertySpace = " \t\f"

// separates reports whether a line ends a document: it is #--- or !---, and the lines
// next to it are not comments of the same kind.
func separates(lines []string, i int) bool {
	if line := strings.TrimRight(lines[i], " \t"); line != "#---" && line != "!---" {
		return false
	}
	for _, next := range []int{i - 1, i + 1} {
		if next >= 0 && next < len(lines) && strings.HasPrefix(lines[next], lines[i][:1]) {
			return false
		}
	}
	return true
}

// cutProperty cuts a logical line into name and value, both still escaped.
func cutProperty(line string) (name, value string) {
	end := 0
	for end < len(line) && !strings.Contains("=:"+propertySpace, line[end:end+1]) {
		if line[end] == '\\' {
			end++
		}
		end++
	}
	end = min(end, len(line))
	value = strings.TrimLeft(line[end:], propertySpace)
	if value != "" && (value[0] == '=' || value[0] == ':') {
		value = strings.TrimLeft(value[1:], propertySpace)
	}
	return line[:end], value
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
