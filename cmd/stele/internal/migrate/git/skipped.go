package git

import (
	"context"
	"path"
	"strings"
)

// countSkipped counts the files of a commit that begin with the root and are not read,
// by the ending of their names; "" for files without one.
func (s *Source) countSkipped(ctx context.Context, commit, root string) (map[string]int, error) {
	args := []string{"ls-tree", "-r", "-z", "--full-tree", "--name-only", commit}
	if s.folder != "" {
		args = append(args, "--", s.folder+"/")
	}
	out, err := s.output(ctx, args...)
	if err != nil {
		return nil, err
	}
	skipped := make(map[string]int)
	for file := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		if _, read := document(file); file != "" && !read && strings.HasPrefix(file, root) {
			skipped[path.Ext(file)]++
		}
	}
	return skipped, nil
}

// Skipped returns how many files of the last commit are not read, by the ending of
// their names; "" for files without one.
func (s *Source) Skipped() map[string]int { return s.skipped }
