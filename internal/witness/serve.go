package witness

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// maxBody is longer, in bytes, than any request: 63 hashes and a checkpoint with
// post-quantum cosignatures.
const maxBody = 256 << 10

// refusal is an answer other than 200.
type refusal struct {
	status int
	// size of the newest cosigned checkpoint, for 409.
	size int64
	why  string
}

func (r *refusal) Error() string { return r.why }

func refuse(status int, format string, args ...any) error {
	return &refusal{status: status, why: fmt.Sprintf(format, args...)}
}

// addCheckpoint cosigns a checkpoint that extends the newest one.
func (w *Witness) addCheckpoint(out http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(out, r.Body, maxBody))
	if err != nil {
		http.Error(out, err.Error(), http.StatusBadRequest)
		return
	}
	cosignature, err := w.add(string(body))
	var no *refusal
	switch {
	case err == nil:
		out.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(out, cosignature)
	case !errors.As(err, &no):
		w.cfg.Log.Error("cannot keep a checkpoint; nothing was cosigned", "error", err)
		http.Error(out, "the witness cannot keep the checkpoint; try again", http.StatusInternalServerError)
	case no.status == http.StatusConflict:
		out.Header().Set("Content-Type", "text/x.tlog.size")
		out.WriteHeader(no.status)
		fmt.Fprintf(out, "%d\n", no.size)
	default:
		http.Error(out, no.why, no.status)
	}
}

// add checks a request in the order of the specification, keeps the checkpoint and
// returns the cosignature. The checks and the write are one transaction, so that no
// other request comes between them.
func (w *Witness) add(body string) (cosignature string, err error) {
	r, err := parseRequest(body)
	if err != nil {
		return "", refuse(http.StatusBadRequest, "%v", err)
	}
	text, _, ok := strings.Cut(r.signed, "\n\n")
	if !ok {
		return "", refuse(http.StatusBadRequest, "the checkpoint has no signatures")
	}
	c, err := parseCheckpoint(text + "\n")
	if err != nil {
		return "", refuse(http.StatusBadRequest, "%v", err)
	}
	keys := w.logs[c.origin]
	if len(keys) == 0 {
		return "", refuse(http.StatusNotFound, "this witness does not know the ledger %.80q", c.origin)
	}
	n, err := note.Open([]byte(r.signed), note.VerifierList(keys...))
	if err != nil {
		return "", refuse(http.StatusForbidden, "the checkpoint of %s is not signed with a key that this witness knows: %v", c.origin, err)
	}
	if r.old > c.size {
		return "", refuse(http.StatusBadRequest, "the old size, %d, is larger than the checkpoint's, %d", r.old, c.size)
	}
	err = w.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketCheckpoints)
		newest, err := newest(b, c.origin)
		if err != nil {
			return err
		}
		if err := follows(newest, r, c); err != nil {
			return err
		}
		cosignature = w.cfg.Key.Cosign(n.Text, w.cfg.Now())
		return b.Put([]byte(c.origin), []byte(kept(n)+cosignature))
	})
	var no *refusal
	if errors.As(err, &no) && no.status == http.StatusUnprocessableEntity {
		w.cfg.Log.Error("a ledger's key has signed a checkpoint that does not extend the newest one: this is evidence of a split view, if the proof was not damaged",
			"origin", c.origin, "reason", no.why, "request", body)
	}
	return cosignature, err
}

// newest is the checkpoint that was cosigned last; of size 0 if there is none.
func newest(b *bolt.Bucket, origin string) (checkpoint, error) {
	signed := b.Get([]byte(origin))
	if signed == nil {
		return checkpoint{origin: origin, root: emptyRoot}, nil
	}
	text, _, _ := strings.Cut(string(signed), "\n\n")
	c, err := parseCheckpoint(text + "\n")
	if err != nil {
		err = fmt.Errorf("the newest checkpoint of %s in the witness's file is damaged: %w", origin, err)
	}
	return c, err
}

var emptyRoot = tlog.Hash(sha256.Sum256(nil))

// follows checks that a checkpoint extends the newest one.
func follows(newest checkpoint, r request, c checkpoint) error {
	switch {
	case r.old != newest.size:
		return &refusal{http.StatusConflict, newest.size, fmt.Sprintf("the newest checkpoint has the size %d, not %d", newest.size, r.old)}
	case c.size == 0 && c.root != emptyRoot:
		return refuse(http.StatusUnprocessableEntity, "the root of an empty tree is not %s", c.root)
	case r.old == 0 && len(r.proof) > 0:
		return refuse(http.StatusUnprocessableEntity, "a proof from size 0 must be empty")
	case r.old == 0:
		return nil
	case r.old == c.size && newest.root != c.root:
		return refuse(http.StatusUnprocessableEntity, "the root at %d is %s, and the newest checkpoint has %s", c.size, c.root, newest.root)
	}
	if err := tlog.CheckTree(r.proof, c.size, c.root, newest.size, newest.root); err != nil {
		return refuse(http.StatusUnprocessableEntity, "the tree of %d does not extend that of %d: %v", c.size, newest.size, err)
	}
	return nil
}

// kept is the note with the signatures that were verified.
func kept(n *note.Note) string {
	var b strings.Builder
	b.WriteString(n.Text + "\n")
	for _, s := range n.Sigs {
		fmt.Fprintf(&b, "— %s %s\n", s.Name, s.Base64)
	}
	return b.String()
}

// getCheckpoint serves the newest checkpoint to monitors.
func (w *Witness) getCheckpoint(out http.ResponseWriter, r *http.Request) {
	for origin := range w.logs {
		if r.PathValue("origin") != OriginHash(origin) {
			continue
		}
		var signed string
		err := w.db.View(func(tx *bolt.Tx) error {
			signed = string(tx.Bucket(bucketCheckpoints).Get([]byte(origin)))
			return nil
		})
		switch {
		case err != nil:
			http.Error(out, err.Error(), http.StatusInternalServerError)
		case signed == "":
			http.Error(out, "this witness has not cosigned a checkpoint of "+origin, http.StatusNotFound)
		default:
			out.Header().Set("Content-Type", "text/plain; charset=utf-8")
			io.WriteString(out, signed)
		}
		return
	}
	http.Error(out, "this witness does not know that ledger", http.StatusNotFound)
}

// OriginHash names a ledger in the path of its newest checkpoint.
func OriginHash(origin string) string {
	sum := sha256.Sum256([]byte(origin))
	return hex.EncodeToString(sum[:])
}
