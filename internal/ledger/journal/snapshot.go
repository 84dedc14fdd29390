package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go"
)

// chunk is how much of a snapshot a message carries, in bytes, and chunkTimeout how
// long the server may take for the next one.
const (
	chunk        = 256 << 10
	chunkTimeout = time.Minute
)

// snapshot is a stream as the server hands it out: whole, as of one moment, while it
// continues to accept messages.
type snapshot struct {
	Config json.RawMessage `json:"config"`
	State  json.RawMessage `json:"state"`
}

// apiError is how the server says no.
type apiError struct {
	Error *struct {
		Code        int    `json:"code"`
		Description string `json:"description"`
	} `json:"error"`
}

func (e apiError) err() error {
	if e.Error == nil {
		return nil
	}
	return fmt.Errorf("%s (%d)", e.Error.Description, e.Error.Code)
}

// errNoStream says that there is no such stream.
var errNoStream = errors.New("there is no such stream")

// askAPI sends a request to the API of JetStream and reads its answer.
func askAPI(ctx context.Context, nc *nats.Conn, subject string, request, answer any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, chunkTimeout)
	defer cancel()
	m, err := nc.RequestWithContext(ctx, api+subject, body)
	if err != nil {
		return err
	}
	var said apiError
	if err := json.Unmarshal(m.Data, &said); err != nil {
		return fmt.Errorf("cannot decode the response to %s: %w", api+subject, err)
	}
	if said.Error != nil && said.Error.Code == 404 {
		return errNoStream
	}
	if err := said.err(); err != nil {
		return err
	}
	return json.Unmarshal(m.Data, answer)
}

// takeSnapshot writes a stream to w. The server leaves out messages that it cannot read,
// and does not say so. Its own check ("jsck") is not asked for: nats-server 2.15 ignores
// it, and earlier ones cut a damaged stream off while they check it.
func takeSnapshot(ctx context.Context, nc *nats.Conn, stream string, w io.Writer) (*snapshot, error) {
	inbox := nc.NewRespInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe()
	if err := sub.SetPendingLimits(-1, -1); err != nil { // the server's window bounds it
		return nil, err
	}
	s := new(snapshot)
	request := map[string]any{"deliver_subject": inbox, "no_consumers": true, "chunk_size": chunk}
	if err := askAPI(ctx, nc, "STREAM.SNAPSHOT."+stream, request, s); err != nil {
		return nil, err
	}
	for {
		m, err := nextChunk(ctx, sub)
		if err != nil {
			return nil, err
		}
		if status := m.Header.Get("Status"); status != "" && status != "204" {
			return nil, fmt.Errorf("the server broke off: %s %s", status, m.Header.Get("Description"))
		}
		if len(m.Data) == 0 {
			return s, nil
		}
		if _, err := w.Write(m.Data); err != nil {
			return nil, err
		}
		if m.Reply != "" {
			if err := m.Respond(nil); err != nil {
				return nil, err
			}
		}
	}
}

func nextChunk(ctx context.Context, sub *nats.Subscription) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, chunkTimeout)
	defer cancel()
	return sub.NextMsgWithContext(ctx)
}

// putSnapshot makes a stream of what r has.
func putSnapshot(ctx context.Context, nc *nats.Conn, stream string, s *snapshot, r io.Reader) error {
	var to struct {
		Deliver string `json:"deliver_subject"`
	}
	if err := askAPI(ctx, nc, "STREAM.RESTORE."+stream, s, &to); err != nil {
		return err
	}
	for buf := make([]byte, chunk); ; {
		n, err := io.ReadFull(r, buf)
		end := err == io.EOF || err == io.ErrUnexpectedEOF
		if err != nil && !end {
			return err
		}
		if n > 0 {
			if err := send(ctx, nc, to.Deliver, buf[:n]); err != nil {
				return err
			}
		}
		if end {
			return send(ctx, nc, to.Deliver, nil)
		}
	}
}

// send hands over a chunk; an empty one ends it, and the answer is whether the
// stream is there.
func send(ctx context.Context, nc *nats.Conn, subject string, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, chunkTimeout)
	defer cancel()
	m, err := nc.RequestWithContext(ctx, subject, data)
	if err != nil || len(m.Data) == 0 {
		return err
	}
	var said apiError
	if err := json.Unmarshal(m.Data, &said); err != nil {
		return nil // flow control has words of its own
	}
	return said.err()
}
