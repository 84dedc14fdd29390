package git

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/stelehq/stele/cmd/stele/internal/migrate/document"
)

// command is git with everything off that the repository's own configuration could
// have it run or fetch.
func (s *Source) command(ctx context.Context, args ...string) *exec.Cmd {
	safe := []string{
		"-C", s.dir, "--no-pager", "--no-replace-objects", "--no-optional-locks",
		"-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "protocol.allow=never", "-c", "gpg.program=false",
		"-c", "log.showSignature=false", "-c", "log.follow=false", "-c", "core.quotePath=false",
	}
	cmd := exec.CommandContext(ctx, "git", append(safe, args...)...)
	// Variables of the caller's shell for another repository are dropped.
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GIT_") }),
		"LC_ALL=C", "GIT_TERMINAL_PROMPT=0", "GIT_NO_LAZY_FETCH=1")
	return cmd
}

// output is what a command prints.
func (s *Source) output(ctx context.Context, args ...string) (string, error) {
	out, err := s.command(ctx, args...).Output()
	return string(out), withStderr(err)
}

// withStderr adds what git printed to standard error.
func withStderr(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return fmt.Errorf("git: %s", bytes.TrimSpace(exit.Stderr))
	}
	return err
}

// process is a git process that reads requests on standard input and answers on standard
// output.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr bytes.Buffer
}

func (s *Source) start(ctx context.Context, args ...string) (*process, error) {
	t := &process{cmd: s.command(ctx, args...)}
	t.cmd.Stderr = &t.stderr
	var err error
	if t.in, err = t.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := t.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	t.out = bufio.NewReaderSize(out, 64<<10)
	if err := t.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start git: %w", err)
	}
	return t, nil
}

func (t *process) close() {
	t.in.Close()
	// The rest of its output is not needed.
	t.cmd.Process.Kill()
	t.cmd.Wait()
}

// broken is an error of the conversation, with git's own words.
func (t *process) broken(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	t.close()
	if text := bytes.TrimSpace(t.stderr.Bytes()); len(text) > 0 {
		return fmt.Errorf("git: %s", text)
	}
	return fmt.Errorf("git: %w", err)
}

// blobs reads files' contents.
type blobs struct{ *process }

func (s *Source) openBlobs(ctx context.Context) (*blobs, error) {
	t, err := s.start(ctx, "cat-file", "--batch-command")
	return &blobs{t}, err
}

// read returns a blob; of one that is too large only its size.
func (b *blobs) read(id string) (data []byte, size int64, err error) {
	if size, err = b.ask("info", id); err != nil || size > document.MaxSize {
		return nil, size, err
	}
	if size, err = b.ask("contents", id); err != nil {
		return nil, 0, err
	}
	data = make([]byte, size+1) // and the end of the line
	if _, err := io.ReadFull(b.out, data); err != nil {
		return nil, 0, b.broken(err)
	}
	return data[:size], size, nil
}

// ask sends a command for a blob and returns the size in git's answer, "<id> blob <size>".
func (b *blobs) ask(command, id string) (int64, error) {
	if _, err := fmt.Fprintf(b.in, "%s %s\n", command, id); err != nil {
		return 0, b.broken(err)
	}
	line, err := b.out.ReadString('\n')
	if err != nil {
		return 0, b.broken(err)
	}
	f := strings.Fields(line)
	if len(f) != 3 || f[0] != id || f[1] != "blob" {
		return 0, fmt.Errorf("the blob %s is not there: git says %.80q: is it a whole clone?", id, strings.TrimSpace(line))
	}
	return strconv.ParseInt(f[2], 10, 64)
}
