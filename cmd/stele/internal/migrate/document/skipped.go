package document

import (
	"path"
	"strings"
)

// Skipped are files that are not read, by their extension in lower case; "" for files
// without one.
type Skipped map[string]*Class

// Class is the number of skipped files of one extension, and the names of the first.
type Class struct {
	Count    int
	Examples []string
}

// Add adds a file.
func (s Skipped) Add(file string) {
	const examples = 3
	extension := strings.ToLower(path.Ext(file))
	c := s[extension]
	if c == nil {
		c = new(Class)
		s[extension] = c
	}
	if c.Count++; len(c.Examples) < examples {
		c.Examples = append(c.Examples, file)
	}
}
