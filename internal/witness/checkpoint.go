package witness

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// checkpoint is what a witness reads of any log's C2SP checkpoint.
type checkpoint struct {
	origin string
	size   int64
	root   tlog.Hash
}

// parseCheckpoint reads a checkpoint's text. Lines after the third are extensions.
func parseCheckpoint(text string) (c checkpoint, err error) {
	lines := strings.SplitN(text, "\n", 4)
	if len(lines) < 4 || lines[0] == "" {
		return c, errors.New("a checkpoint has the lines origin, size and root hash")
	}
	c.origin = lines[0]
	if c.size, err = parseSize(lines[1]); err != nil {
		return c, err
	}
	if c.root, err = parseHash(lines[2]); err != nil {
		return c, errors.New("the root is not a hash of 32 bytes in base64")
	}
	return c, nil
}

// parseHash reads a hash that is written in the one way there is: ParseHash ignores unused
// bits and line breaks.
func parseHash(text string) (tlog.Hash, error) {
	h, err := tlog.ParseHash(text)
	if err == nil && h.String() != text {
		err = errors.New("it is not in canonical base64")
	}
	return h, err
}

// parseSize reads a decimal number without leading zeros.
func parseSize(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != text {
		return 0, fmt.Errorf("%.40q is not a tree size", text)
	}
	return n, nil
}

// maxProof is the longest consistency proof that a request has.
const maxProof = 63

// request is the body of add-checkpoint.
type request struct {
	old    int64
	proof  tlog.TreeProof
	signed string
}

func parseRequest(body string) (r request, err error) {
	head, signed, ok := strings.Cut(body, "\n\n")
	if !ok {
		return r, errors.New("the body has no empty line before the checkpoint")
	}
	r.signed = signed
	lines := strings.Split(head, "\n")
	old, ok := strings.CutPrefix(lines[0], "old ")
	if !ok {
		return r, errors.New(`the first line is not "old" and a size`)
	}
	if r.old, err = parseSize(old); err != nil {
		return r, err
	}
	if len(lines)-1 > maxProof {
		return r, fmt.Errorf("the consistency proof has %d lines; at most %d are allowed", len(lines)-1, maxProof)
	}
	for i, line := range lines[1:] {
		h, err := parseHash(line)
		if err != nil {
			return r, fmt.Errorf("line %d of the consistency proof is not a hash of 32 bytes in base64", i+1)
		}
		r.proof = append(r.proof, h)
	}
	return r, nil
}

func (r request) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "old %d\n", r.old)
	for _, h := range r.proof {
		b.WriteString(h.String() + "\n")
	}
	return b.String() + "\n" + r.signed
}
