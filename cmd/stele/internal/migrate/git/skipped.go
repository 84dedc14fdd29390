package git

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/stelehq/stele/cmd/stele/internal/migrate/document"
)

// listSkipped lists the files of a commit that begin with the root and are not read, without
// templates.
func (s *Source) listSkipped(ctx context.Context, commit string) (document.Skipped, error) {
	args := []string{"ls-tree", "-r", "-z", "--full-tree", commit}
	if s.folder != "" {
		args = append(args, "--", s.folder+"/")
	}
	out, err := s.output(ctx, args...)
	if err != nil {
		return document.Skipped{}, err
	}
	var skipped document.Skipped
	for line := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		entry, file, found := strings.Cut(line, "\t")
		mode, _, _ := strings.Cut(entry, " ")
		_, named := document.Name(file)
		switch {
		case !found || !strings.HasPrefix(file, s.root):
		case mode != plain && mode != executable:
			skipped.Links.Add(file)
		case !named:
			skipped.AddFormat(file)
		}
	}
	return skipped, nil
}

// Skipped returns the files of the last commit that are not read. Which of them are Helm
// templates is known after Steps.
func (s *Source) Skipped() document.Skipped { return s.skipped }

// setTemplates sets the templates of the last commit.
func (s *Source) setTemplates(paths map[string]bool) {
	s.skipped.Templates = document.Class{}
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		if strings.HasPrefix(path, s.root) {
			s.skipped.Templates.Add(path)
		}
	}
}
