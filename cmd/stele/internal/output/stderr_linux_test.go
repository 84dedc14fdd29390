package output

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal opens a pseudo-terminal: what is written to tty can be read from the other end.
func openTerminal(t *testing.T) (end, tty *os.File) {
	t.Helper()
	end, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { end.Close() })
	if err := unix.IoctlSetPointerInt(int(end.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(end.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { tty.Close() })
	return end, tty
}

// A buffered printer escapes on a terminal.
func TestPrinter_BufferEscapesOnTerminals(t *testing.T) {
	end, tty := openTerminal(t)
	p := NewPrinter(tty, JSON)
	flush := p.Buffer()
	if err := p.Object(map[string]string{"value": "\u009b31m\u202e"}); err != nil {
		t.Fatal(err)
	}
	if err := flush(); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1000)
	n, err := end.Read(b)
	if want := "{\"value\":\"\\u009b31m\\u202e\"}\r\n"; err != nil || string(b[:n]) != want {
		t.Errorf("a terminal gets %q, %v, want %q", b[:n], err, want)
	}
	var file bytes.Buffer
	p = NewPrinter(&file, JSON)
	flush = p.Buffer()
	if err := p.Object("\u009b"); err != nil || file.Len() > 0 {
		t.Errorf("%q is written before it is flushed, %v", file.String(), err)
	}
	if err := flush(); err != nil || file.String() != "\"\u009b\"\n" {
		t.Errorf("a file gets %q, %v", file.String(), err)
	}
}

// Errors quote other users' text, for example values that a schema refuses. On a terminal they
// are escaped; a file gets them as they are.
func TestStderr_EscapesOnTerminals(t *testing.T) {
	const message = "value \u202e\x1b[2J\u009b1m"
	was := os.Stderr
	t.Cleanup(func() { os.Stderr = was })
	write := func(to *os.File) {
		os.Stderr = to
		fmt.Fprint(Stderr, message)
	}
	end, tty := openTerminal(t)
	write(tty)
	b := make([]byte, 1000)
	n, err := end.Read(b)
	if want := `value \u202e\u001b[2J\u009b1m`; err != nil || string(b[:n]) != want {
		t.Errorf("a terminal gets %q, %v, want %q", b[:n], err, want)
	}
	file, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	write(file)
	if b, err := os.ReadFile(file.Name()); err != nil || string(b) != message {
		t.Errorf("a file gets %q, %v", b, err)
	}
}
