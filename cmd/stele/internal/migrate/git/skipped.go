package git

import (
	"context"
	"strings"

	"github.com/stelehq/stele/cmd/stele/internal/migrate/document"
)

// listSkipped lists the files of a commit that begin with the root and are not read: also
// symbolic links, whatever their names are.
func (s *Source) listSkipped(ctx context.Context, commit, root string) (document.Skipped, error) {
	args := []string{"ls-tree", "-r", "-z", "--full-tree", commit}
	if s.folder != "" {
		args = append(args, "--", s.folder+"/")
	}
	out, err := s.output(ctx, args...)
	if err != nil {
		return nil, err
	}
	skipped := make(document.Skipped)
	for line := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		entry, file, found := strings.Cut(line, "\t")
		mode, _, _ := strings.Cut(entry, " ")
		_, named := document.Name(file)
		if read := named && (mode == plain || mode == executable); found && !read && strings.HasPrefix(file, root) {
			skipped.Add(file)
		}
	}
	return skipped, nil
}

// Skipped returns the files of the last commit that are not read.
func (s *Source) Skipped() document.Skipped { return s.skipped }
