package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// file is what became of one in a commit.
type file struct {
	path string
	// blob is its content; empty when it is gone.
	blob string
}

// changes lists the changes of each commit against its first parent.
type changes struct{ *process }

func (s *Source) openChanges(ctx context.Context) (*changes, error) {
	args := []string{"diff-tree", "--stdin", "--always", "--root", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", "--no-ext-diff", "--"}
	if s.folder != "" {
		args = append(args, ":(top,literal)"+s.folder)
	}
	t, err := s.start(ctx, args...)
	return &changes{t}, err
}

// of asks about a commit and then about an empty line, which git repeats: so the
// answer's end is seen.
func (c *changes) of(asked commit) ([]file, error) {
	if _, err := fmt.Fprintf(c.in, "%s\n\n", strings.TrimSpace(asked.id+" "+asked.parent)); err != nil {
		return nil, c.broken(err)
	}
	header, err := c.token()
	if err != nil {
		return nil, err
	}
	if header != asked.id {
		return nil, fmt.Errorf("git answers about %.80q", header)
	}
	var files []file
	for {
		if end, err := c.out.Peek(1); err != nil {
			return nil, c.broken(err)
		} else if end[0] == '\n' {
			_, err := c.out.ReadByte()
			return files, err
		}
		f, err := c.file()
		if err != nil {
			return nil, err
		}
		if f != nil {
			files = append(files, *f)
		}
	}
}

// maxPath bounds what is kept of one answer, in bytes.
const maxPath = 64 << 10

// token reads up to a NUL.
func (c *changes) token() (string, error) {
	var text []byte
	for {
		part, err := c.out.ReadSlice(0)
		if text = append(text, part...); len(text) > maxPath {
			return "", errors.New("a path is too long")
		}
		if err == nil {
			return string(text[:len(text)-1]), nil
		}
		if len(part) == 0 || err == io.EOF {
			return "", c.broken(err)
		}
	}
}

// The modes of what is a file.
const (
	plain      = "100644"
	executable = "100755"
)

// file reads ":oldmode newmode oldid newid status" and a path; nil if neither the old
// nor the new entry is a file.
func (c *changes) file() (*file, error) {
	text, err := c.token()
	if err != nil {
		return nil, err
	}
	path, err := c.token()
	if err != nil {
		return nil, err
	}
	f := strings.Fields(strings.TrimPrefix(text, ":"))
	if len(f) != 5 || !strings.HasPrefix(text, ":") {
		return nil, fmt.Errorf("cannot parse git's output for a change: %.80q", text)
	}
	isFile := func(mode string) bool { return mode == plain || mode == executable }
	switch {
	case isFile(f[1]):
		return &file{path: path, blob: f[3]}, nil
	case isFile(f[0]): // deleted, or something else now
		return &file{path: path}, nil
	}
	return nil, nil
}
