//go:build faults

package systemtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// disk is an ext4 file system in an image file. Data that a process has written and not
// synced is in the kernel's memory; the image has the synced data.
type disk struct {
	image, dir string
}

// diskSize has room for the journals of these tests, in bytes.
const diskSize = 512 << 20

func newDisk(t *testing.T) *disk {
	t.Helper()
	d := &disk{image: filepath.Join(t.TempDir(), "disk.img"), dir: t.TempDir()}
	f, err := os.Create(d.image)
	if err == nil {
		err = f.Truncate(diskSize)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	_, err = exec.Command("mkfs.ext4", "-q", "-F", d.image).Output()
	if err == nil {
		err = d.mount()
	}
	if err != nil {
		fmt.Println("skipped: the power cut, which takes root, a loop device and mkfs.ext4:", err)
		t.SkipNow()
	}
	t.Cleanup(func() { d.unmount() })
	return d
}

// mount makes the kernel write only synced data for an hour; its own writes after 30
// seconds come later than any cut here.
func (d *disk) mount() error {
	if out, err := exec.Command("mount", "-o", "loop,commit=3600", d.image, d.dir).CombinedOutput(); err != nil {
		return fmt.Errorf("mount: %w: %s", err, out)
	}
	return nil
}

func (d *disk) unmount() error {
	if out, err := exec.Command("umount", d.dir).CombinedOutput(); err != nil {
		return fmt.Errorf("umount: %w: %s", err, out)
	}
	return nil
}

// clear removes a folder, so that no cut brings it back.
func (d *disk) clear(dir string) error {
	return errors.Join(os.RemoveAll(dir), d.unmount(), d.mount())
}

// cut takes the power away from the process and its disk: the disk continues as a copy
// of the image at that moment. With random, a part of the writes that were not synced has
// reached the disk nevertheless, in any order and torn; cut returns how many sectors.
func (d *disk) cut(t *testing.T, p *process, random *rand.Rand) (torn int) {
	t.Helper()
	freeze(t, p)
	var written map[string][]byte
	if random != nil {
		written = d.files(t)
	}
	// Data that was not synced must be gone, or this is not a power cut.
	unsynced := filepath.Join(d.dir, "unsynced")
	if err := os.WriteFile(unsynced, []byte("never synced"), 0o600); err != nil {
		t.Fatal(err)
	}
	copied := d.image + ".cut"
	if out, err := exec.Command("cp", "--sparse=always", d.image, copied).CombinedOutput(); err != nil {
		t.Fatalf("copy the disk: %v: %s", err, out)
	}
	p.kill()
	if err := d.unmount(); err != nil { // writes all the rest into the image that is given up
		t.Fatal(err)
	}
	if err := os.Rename(copied, d.image); err != nil {
		t.Fatal(err)
	}
	if err := d.mount(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(unsynced); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the cut has left what was never synced, so it proves nothing: %v", err)
	}
	for path, content := range written {
		torn += tear(t, path, content, random)
	}
	return torn
}

// files are the contents of all files as the process has written them, synced or not.
func (d *disk) files(t *testing.T) map[string][]byte {
	t.Helper()
	contents := make(map[string][]byte)
	err := filepath.WalkDir(d.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		contents[path], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return contents
}

// sector is what a disk writes as a whole, in bytes.
const sector = 512

// tear writes half of the sectors that differ between the file on the disk and its written
// content, each as likely as any other. The file keeps its length, or gets the written one:
// the sectors between that are not written are zeros then. It returns how many were written.
func tear(t *testing.T, path string, written []byte, random *rand.Rand) (torn int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) { // neither it nor its name was synced
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	synced, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	length := len(synced)
	if length < len(written) && random.IntN(2) == 0 {
		length = len(written)
		if err := f.Truncate(int64(length)); err != nil {
			t.Fatal(err)
		}
		synced = append(synced, make([]byte, length-len(synced))...)
	}
	for at := 0; at < min(length, len(written)); at += sector {
		end := min(at+sector, length, len(written))
		if bytes.Equal(synced[at:end], written[at:end]) || random.IntN(2) == 0 {
			continue
		}
		if _, err := f.WriteAt(written[at:end], int64(at)); err != nil {
			t.Fatal(err)
		}
		torn++
	}
	return torn
}

// freeze stops every thread of the process where it is, syncs that have begun
// finished, so that nothing is written while the disk is copied.
func freeze(t *testing.T, p *process) {
	t.Helper()
	pid := p.cmd.Process.Pid
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	await(t, "stop of every thread", func() bool {
		states, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range states {
			stat, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			// The state comes after the name, which ends with the last ")".
			if _, rest, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')'):]), " "); rest[0] != 'T' {
				return false
			}
		}
		return true
	})
}

// TestPowerCut_LosesNothingAcknowledged takes the power away while a history is
// imported: of what was written, only what was synced is left, and at every second cut a part
// of the rest as well.
func TestPowerCut_LosesNothingAcknowledged(t *testing.T) {
	random := seeded(t)
	d := newDisk(t)
	cuts := number(t, "STELE_FAULTS_CUTS", 10)
	tearing, sectors := false, 0
	var all verdict
	for rest := cuts; rest > 0; rest -= mostCrashes {
		tr := trial{
			history: readHistory(t, generate(t, random, 400*min(rest, mostCrashes))), random: random, crashes: min(rest, mostCrashes), data: filepath.Join(d.dir, "data"),
			crash: func(g *gateway) {
				if tearing = !tearing; tearing {
					sectors += d.cut(t, g.process, random)
				} else {
					d.cut(t, g.process, nil)
				}
			},
		}
		all.add(tr.run(t))
		if err := d.clear(tr.data); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("power cut during an import: %d cuts (%d of them while the replica was written, or just after), each of which dropped an unsynced write, half of them with %d sectors of unsynced writes on the disk, torn and out of order; "+
			"%d commits acknowledged, 0 lost, %d of them a second time; chains whole, %d keys at head equal to the replay; %s\n",
			all.crashes, all.inFlush, sectors, all.acknowledged, all.again, all.keys, all.took.Round(time.Second))
	}
}
