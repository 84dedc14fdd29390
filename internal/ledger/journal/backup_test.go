package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"go.uber.org/goleak"
)

// noCheck is for backups of messages that are not commits.
func noCheck(context.Context, *BackupReader) error { return nil }

// A backup that is taken while commits are written holds every one that was
// acknowledged before it began, and restores to a journal that takes more.
func TestBackup_OfARunningLedgerIsRestored(t *testing.T) {
	s := startTest(t, t.TempDir())
	j := openTest(t, s, Config{})
	aux, err := j.OpenAuxStream(t.Context(), Checkpoints)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := aux.Append(t.Context(), "tree", []byte("checkpoint")); err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("x", 300<<10) // more than a chunk
	var last ledger.Sequence
	for i := range 50 {
		last = mustAppend(t, j, last, large+fmt.Sprint(i))
	}
	before := last
	stop, stopped := make(chan struct{}), make(chan ledger.Sequence)
	go func() {
		for at := before; ; {
			select {
			case <-stop:
				stopped <- at
				return
			default:
				at = mustAppend(t, j, at, "meanwhile")
			}
		}
	}()
	nc := connect(t, s)
	dir := filepath.Join(t.TempDir(), "backup")
	b, err := TakeBackup(t.Context(), nc, dir, noCheck)
	close(stop)
	<-stopped
	if err != nil {
		t.Fatal(err)
	}
	if b.Ledger != j.Epoch().String() || len(b.Streams) != 2 {
		t.Errorf("the backup is %+v", b)
	}
	if _, err := TakeBackup(t.Context(), nc, dir, noCheck); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second one into the same folder: %v", err)
	}
	if _, err := Restore(t.Context(), nc, dir, 1); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("it was restored over a ledger: %v", err)
	}

	again := startTest(t, t.TempDir())
	if _, err := Restore(t.Context(), connect(t, again), dir, 1); err != nil {
		t.Fatal(err)
	}
	restored := openTest(t, again, Config{})
	if restored.Epoch() != j.Epoch() {
		t.Error("it is another ledger")
	}
	info, err := restored.stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.State.FirstSeq != 1 || ledger.Sequence(info.State.LastSeq) < before || info.State.Msgs != info.State.LastSeq {
		t.Errorf("%d messages were acknowledged, and it has %+v", before, info.State)
	}
	for seq := uint64(1); seq <= info.State.LastSeq; seq++ {
		was, err := j.stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		is, err := restored.stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		if is.Subject != was.Subject || !is.Time.Equal(was.Time) || !bytes.Equal(is.Data, was.Data) {
			t.Fatalf("message %d is another one", seq)
		}
	}
	mustAppend(t, restored, ledger.Sequence(info.State.LastSeq), "after it")
	aux, err = restored.OpenAuxStream(t.Context(), Checkpoints)
	if err != nil {
		t.Fatal(err)
	}
	if _, body, err := aux.Last(t.Context(), "tree"); string(body) != "checkpoint" || err != nil {
		t.Errorf("the checkpoint is %q, %v", body, err)
	}
}

func TestRestore_ChangedBackup(t *testing.T) {
	s := startTest(t, t.TempDir())
	j := openTest(t, s, Config{})
	mustAppend(t, j, 0, "x")
	take := func() string {
		dir := filepath.Join(t.TempDir(), "backup")
		if _, err := TakeBackup(t.Context(), connect(t, s), dir, noCheck); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	edit := func(name, old, new string) func(string) error {
		return func(dir string) error {
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, name), bytes.Replace(text, []byte(old), []byte(new), 1), 0o600)
		}
	}
	rename := func(dir string) error { // to the name of another stream
		text, err := os.ReadFile(filepath.Join(dir, manifestName))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, manifestName), bytes.ReplaceAll(text, []byte(`"STELE`), []byte(`"STELE-READS`)), 0o600)
		}
		return errors.Join(err, os.Rename(filepath.Join(dir, "STELE.snapshot"), filepath.Join(dir, "STELE-READS.snapshot")))
	}
	for want, change := range map[string]func(string) error{
		"was changed since":      func(dir string) error { return os.Truncate(filepath.Join(dir, "STELE.snapshot"), 100) },
		"no such file":           func(dir string) error { return os.Remove(filepath.Join(dir, "STELE.snapshot")) },
		"backup.json: no such":   func(dir string) error { return os.Remove(filepath.Join(dir, manifestName)) },
		"of the format":          edit(manifestName, "stele-backup/2", "stele-backup/1"),
		"it has no stream STELE": rename,
		"the file of STELE":      edit(manifestName, `"STELE.snapshot"`, `"../STELE.snapshot"`),
		"backup.json: unexpect":  func(dir string) error { return os.Truncate(filepath.Join(dir, manifestName), 50) },
	} {
		dir := take()
		if err := change(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenBackup(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
		empty := startTest(t, t.TempDir())
		if _, err := Restore(t.Context(), connect(t, empty), dir, 1); err == nil {
			t.Errorf("%s: it was restored", want)
		}
	}
}

func TestBackup_WithoutALedger(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "backup")
	if _, err := TakeBackup(t.Context(), connect(t, startTest(t, t.TempDir())), dir, noCheck); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("it says %v", err)
	}
	if left, _ := filepath.Glob(dir + "*"); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
}

func TestBackup_ThroughTheSocket(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := t.TempDir()
	for range 2 { // the second finds the first one's socket
		s, err := StartServer(ServerConfig{Dir: dir, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(dir, socketName))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("the socket is %v, %v", info, err)
		}
		nc, err := ConnectSocket(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Error(err)
		}
		s.Close() // with a connection that is open
		nc.Close()
	}
	if nc, err := ConnectSocket(dir); err == nil {
		nc.Close()
		t.Error("a server that has stopped is reached")
	}
}
