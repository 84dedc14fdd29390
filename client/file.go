package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/proto"
)

const (
	// saveAfter is how long changes are gathered before they are saved.
	saveAfter = time.Second
	// saveAtLeast is the interval at which an unchanged file is saved again, so that
	// its state counts as recent.
	saveAtLeast = time.Minute
)

// A file's first line is a name and the SHA-256 of all that follows, in hexadecimal;
// its second, whose state it is, as JSON; then the state comes as a
// stele.v1.WatchState.
const fileMagic = "stele client state 2 "

// saved is the second line.
type saved struct {
	Tenant   string   `json:"tenant"`
	Epoch    []byte   `json:"epoch"`
	Prefixes []string `json:"prefixes"`
	// Current is when the state was known to be current.
	Current time.Time `json:"current"`
}

func encodeFile(head saved, s *stelev1.WatchState) ([]byte, error) {
	line, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	body, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(append(line, '\n'), s)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	return slices.Concat([]byte(fileMagic+hex.EncodeToString(sum[:])+"\n"), body), nil
}

func decodeFile(b []byte) (head saved, s *stelev1.WatchState, err error) {
	first, body, ok := bytes.Cut(b, []byte("\n"))
	want, isOurs := bytes.CutPrefix(first, []byte(fileMagic))
	if !ok || !isOurs {
		return head, nil, errors.New("it is not a file of a client's settings")
	}
	if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != string(want) {
		return head, nil, errors.New("it is damaged: its checksum is wrong")
	}
	line, state, _ := bytes.Cut(body, []byte("\n"))
	if err := json.Unmarshal(line, &head); err != nil {
		return head, nil, fmt.Errorf("it does not say whose settings it has: %w", err)
	}
	s = &stelev1.WatchState{}
	if err := proto.Unmarshal(state, s); err != nil {
		return head, nil, fmt.Errorf("its settings cannot be read: %w", err)
	}
	return head, s, nil
}

// load uses the state of the file, if it is this client's. Any other file is set aside
// and logged; the client continues without.
func (c *Client) load() {
	if c.cfg.File == "" {
		return
	}
	b, err := os.ReadFile(c.cfg.File)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		c.cfg.Log.Error("the last settings that were known to be good cannot be read", "error", err)
		return
	}
	head, s, err := decodeFile(b)
	switch {
	case err != nil:
	case head.Tenant != c.cfg.Tenant:
		err = fmt.Errorf("it is of the tenant %q, and not of %q", head.Tenant, c.cfg.Tenant)
	case !slices.Equal(head.Prefixes, c.cfg.Prefixes):
		err = fmt.Errorf("it has the keys under %q, and not those under %q", head.Prefixes, c.cfg.Prefixes)
	case s.Revision > 0 && len(s.Id) == 0:
		err = errors.New("it does not say which commit it is the state of")
	case len(head.Epoch) == 0:
		err = errors.New("it does not say of which ledger it is")
	}
	if err != nil {
		c.setAside(err)
		return
	}
	c.replace(s)
	c.epoch = head.Epoch
	if head.Current.Before(time.Now()) { // or else a clock was wrong
		c.note(func(k *knowledge) { k.current = head.Current })
	}
}

// setAside renames the file, so that an operator can examine it.
func (c *Client) setAside(why error) {
	aside := c.cfg.File + ".aside"
	err := os.Rename(c.cfg.File, aside)
	c.cfg.Log.Error("the file with the last settings that were known to be good is not used, and set aside", "file", c.cfg.File, "aside", aside, "reason", why, "error", err)
}

// save keeps the file as new as the state, until ctx ends; then it saves once more.
func (c *Client) save(ctx context.Context) {
	tick := time.NewTicker(saveAtLeast)
	defer tick.Stop()
	for {
		select {
		case <-c.dirty:
			select {
			case <-time.After(saveAfter):
			case <-ctx.Done():
			}
		case <-tick.C:
		case <-ctx.Done():
		}
		if err := c.saveNow(); err != nil {
			c.cfg.Log.Error("the settings cannot be saved: a start without a gateway would begin with older ones", "error", err)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// saveNow writes the file, and returns when it is durable. Whenever the machine
// stops, the file is the one before or this one, whole.
func (c *Client) saveNow() error {
	c.mu.Lock()
	s, k, epoch, have := c.state.Load(), c.known.Load(), c.epoch, c.isLive
	c.mu.Unlock()
	if !have {
		return nil
	}
	out := &stelev1.WatchState{Revision: s.revision, Id: s.id}
	for e := range s.all() {
		out.Entries = append(out.Entries, &stelev1.Entry{Key: e.Key, Value: e.Value, Revision: e.Revision, Secret: e.Secret, Base: e.Base.proto()})
	}
	b, err := encodeFile(saved{Tenant: k.tenant, Epoch: epoch, Prefixes: c.cfg.Prefixes, Current: k.current.Round(0)}, out)
	if err != nil {
		return err
	}
	return writeFile(c.cfg.File, b)
}

func writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
