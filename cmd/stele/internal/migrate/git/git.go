// Package git reads the documents of a git repository with their history: each commit
// that changed one is a step, with its time, author and message. The history follows
// first parents, so a merge is one step, as it came onto the branch. Symbolic links and
// submodules are not read; neither are files of other formats, which are counted.
//
// The repository need not be trusted: git runs nothing that its configuration names, no
// hook, filter or helper, fetches nothing, and no file of it is checked out.
package git

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/migrate"
	"github.com/stelehq/stele/cmd/stele/internal/migrate/document"
)

// Source is a repository up to a commit.
type Source struct {
	// root is what the files' paths begin with.
	dir, root string
	// skipped are the files of the last commit that are not read.
	skipped document.Skipped
	// folder restricts it, empty for all.
	folder  string
	flatten bool
	commits []commit
}

type commit struct {
	id, parent string
	time       time.Time
	// claimed is the commit's own time, if that does not fit between its neighbors'
	// times; zero otherwise.
	claimed         time.Time
	author, message string
}

// Config defines what to read.
type Config struct {
	// Dir is the repository's folder, or one in it.
	Dir string
	// Ref is the commit or branch to end at.
	Ref string
	// Root is what the paths begin with, from the repository's top on.
	Root string
	// Flatten makes each leaf of a document a name of its own.
	Flatten bool
}

// Open lists the commits that changed files which begin with the root.
func Open(ctx context.Context, cfg Config) (*Source, error) {
	s := &Source{dir: cfg.Dir, root: cfg.Root, flatten: cfg.Flatten}
	if i := strings.LastIndexByte(cfg.Root, '/'); i > 0 {
		s.folder = cfg.Root[:i]
	}
	tip, err := s.output(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", cfg.Ref+"^{commit}")
	if err != nil {
		return nil, fmt.Errorf("find %q in the repository %s: %w", cfg.Ref, cfg.Dir, err)
	}
	if s.skipped, err = s.listSkipped(ctx, strings.TrimSpace(tip)); err != nil {
		return nil, fmt.Errorf("list the files of %s: %w", cfg.Dir, err)
	}
	args := []string{
		"log", "-z", "--reverse", "--first-parent", "--diff-merges=first-parent", "--no-patch", "--no-renames", "--no-notes", "--no-show-signature",
		"--no-color", "--no-mailmap", "--encoding=UTF-8", "--format=tformat:%H%n%P%n%ct%n%an <%ae>%n%B", strings.TrimSpace(tip), "--",
	}
	if s.folder != "" {
		args = append(args, ":(top,literal)"+s.folder)
	}
	log, err := s.output(ctx, args...)
	if err != nil {
		return nil, fmt.Errorf("list the commits of %s: %w", cfg.Dir, err)
	}
	for text := range strings.SplitSeq(strings.TrimSuffix(log, "\x00"), "\x00") {
		if text == "" {
			continue
		}
		c, err := parse(text)
		if err != nil {
			return nil, err
		}
		s.commits = append(s.commits, c)
	}
	arrange(s.commits, time.Now())
	return s, nil
}

func parse(text string) (commit, error) {
	f := strings.SplitN(text, "\n", 5)
	if len(f) < 5 {
		return commit{}, fmt.Errorf("cannot parse git's output for a commit: %.80q", text)
	}
	seconds, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil {
		return commit{}, fmt.Errorf("commit %.40s has the time %.40q", f[0], f[2])
	}
	first, _, _ := strings.Cut(f[1], " ")
	return commit{id: f[0], parent: first, time: time.Unix(seconds, 0).UTC(), author: f[3], message: strings.TrimSpace(f[4])}, nil
}

// Name says how documents become values: the same commits are other steps when
// they become others.
func (s *Source) Name() string {
	if s.flatten {
		return "git, flattened"
	}
	return "git"
}

// Steps yields the commits that changed a document.
func (s *Source) Steps(ctx context.Context) iter.Seq2[migrate.Step, error] {
	return func(yield func(migrate.Step, error) bool) {
		if err := s.replay(ctx, func(step migrate.Step) bool { return yield(step, nil) }); err != nil {
			yield(migrate.Step{}, fmt.Errorf("read the repository %s: %w", s.dir, err))
		}
	}
}

func (s *Source) replay(ctx context.Context, yield func(migrate.Step) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	blobs, err := s.openBlobs(ctx)
	if err != nil {
		return err
	}
	defer blobs.close()
	t := &tree{
		flatten: s.flatten, blobs: blobs, files: make(map[string]map[string]string), owners: make(map[string]string), unread: make(map[string]string),
		templates: make(map[string]bool),
	}
	defer func() { s.setTemplates(t.templates) }()
	changes, err := s.openChanges(ctx)
	if err != nil {
		return err
	}
	defer changes.close()
	for _, c := range s.commits {
		files, err := changes.of(c)
		if err != nil {
			return fmt.Errorf("commit %.10s: %w", c.id, err)
		}
		items, err := t.apply(files)
		if err != nil {
			return fmt.Errorf("commit %.10s: %w", c.id, err)
		}
		if len(items) > 0 && !yield(migrate.Step{
			ID: fmt.Sprintf("commit %s", c.id), Time: c.time, Claimed: c.claimed, Author: c.author, Message: c.note(), Items: items,
		}) {
			return nil
		}
	}
	return nil
}
