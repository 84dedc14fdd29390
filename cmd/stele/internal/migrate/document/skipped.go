package document

import (
	"path"
	"strings"
)

// Skipped are files that are not read, by the reason.
type Skipped struct {
	// Formats are files of other formats, by their extension in lower case; "" for files
	// without one.
	Formats map[string]*Class
	// Links are symbolic links, submodules and devices.
	Links Class
	// Templates are the files that Read refuses with ErrTemplate.
	Templates Class
}

// Class is the number of skipped files of one kind, and the names of the first.
type Class struct {
	Count    int
	Examples []string
}

// Add adds a file.
func (c *Class) Add(file string) {
	const examples = 3
	if c.Count++; len(c.Examples) < examples {
		c.Examples = append(c.Examples, file)
	}
}

// AddFormat adds a file of another format.
func (s *Skipped) AddFormat(file string) {
	if s.Formats == nil {
		s.Formats = make(map[string]*Class)
	}
	extension := strings.ToLower(path.Ext(file))
	if s.Formats[extension] == nil {
		s.Formats[extension] = new(Class)
	}
	s.Formats[extension].Add(file)
}

// Count is the number of all files.
func (s *Skipped) Count() int {
	n := s.Links.Count + s.Templates.Count
	for _, c := range s.Formats {
		n += c.Count
	}
	return n
}
