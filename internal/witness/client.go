package witness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// Client asks one witness.
type Client struct {
	// URL is the witness's submission and monitoring prefix.
	URL  string
	HTTP *http.Client
}

// ErrInconsistent: the witness has cosigned a tree that the checkpoint does not extend.
var ErrInconsistent = errors.New("the witness has cosigned a tree that this checkpoint does not extend")

// SizeError says that the newest checkpoint which the witness has cosigned has another
// size than the one that was given as old.
type SizeError struct{ Size int64 }

func (e *SizeError) Error() string {
	return fmt.Sprintf("the newest checkpoint that the witness has cosigned has the size %d", e.Size)
}

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 64 << 10

// Add submits a checkpoint, with the proof that it extends the one of the old size. It
// returns the signature lines, not verified. Errors: SizeError, ErrInconsistent.
func (c *Client) Add(ctx context.Context, old int64, proof tlog.TreeProof, signed string) (lines string, err error) {
	status, body, err := c.do(ctx, http.MethodPost, "/add-checkpoint", request{old, proof, signed}.String())
	switch {
	case err != nil:
		return "", err
	case status == http.StatusOK:
		return body, nil
	case status == http.StatusConflict:
		size, err := parseSize(strings.TrimSuffix(body, "\n"))
		if err != nil {
			return "", fmt.Errorf("the witness %s answers 409 without a size: %.80q", c.URL, body)
		}
		return "", &SizeError{size}
	case status == http.StatusUnprocessableEntity:
		return "", fmt.Errorf("%w: %s: %.200s", ErrInconsistent, c.URL, strings.TrimSpace(body))
	}
	return "", c.unexpected(status, body)
}

// Newest returns the newest checkpoint of the origin that the witness has cosigned, not
// verified.
func (c *Client) Newest(ctx context.Context, origin string) (signed string, err error) {
	status, body, err := c.do(ctx, http.MethodGet, "/"+OriginHash(origin)+"/checkpoint", "")
	switch {
	case err != nil:
		return "", err
	case status == http.StatusNotFound:
		return "", fmt.Errorf("the witness has cosigned no checkpoint of this ledger: %s", c.URL)
	case status != http.StatusOK:
		return "", c.unexpected(status, body)
	}
	return body, nil
}

func (c *Client) unexpected(status int, body string) error {
	return fmt.Errorf("the witness %s answers %d: %.200s", c.URL, status, strings.TrimSpace(body))
}

func (c *Client) do(ctx context.Context, method, path, body string) (status int, answer string, err error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.URL, "/")+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	// A witness is trusted with nothing: a redirect could lead into the private network.
	once := *c.HTTP
	once.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := once.Do(req)
	if err != nil {
		return 0, "", fmt.Errorf("ask the witness: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, "", fmt.Errorf("read the answer of the witness %s: %w", c.URL, err)
	}
	return resp.StatusCode, string(b), nil
}
