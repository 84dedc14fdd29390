package git

import (
	"context"
	"strings"

	"github.com/stelehq/stele/cmd/stele/internal/migrate/document"
)

// listSkipped lists the files of a commit that begin with the root and are not read.
func (s *Source) listSkipped(ctx context.Context, commit, root string) (document.Skipped, error) {
	args := []string{"ls-tree", "-r", "-z", "--full-tree", "--name-only", commit}
	if s.folder != "" {
		args = append(args, "--", s.folder+"/")
	}
	out, err := s.output(ctx, args...)
	if err != nil {
		return nil, err
	}
	skipped := make(document.Skipped)
	for file := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		if _, read := document.Name(file); file != "" && !read && strings.HasPrefix(file, root) {
			skipped.Add(file)
		}
	}
	return skipped, nil
}

// Skipped returns the files of the last commit that are not read.
func (s *Source) Skipped() document.Skipped { return s.skipped }
