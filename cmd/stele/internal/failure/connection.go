package failure

import (
	"regexp"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Parts of gRPC's own messages, which describe its transport.
const (
	noToken  = "transport: per-RPC creds failed due to error: "
	tooLarge = "message larger than max"
	deadline = "context deadline exceeded"
	reset    = "stream terminated by RST_STREAM" // by a gateway that has seen the deadline first
)

// transport matches what gRPC puts around the reason of a failed connection.
var transport = regexp.MustCompile(`^connection error: desc = "(?:transport: )?(.*?)"?$`)

// sizes matches the size of a message and the limit.
var sizes = regexp.MustCompile(`message larger than max \((\d+) vs\. (\d+)\)`)

// connection returns the message of a status. A failure of the connection itself, which
// gRPC describes in the terms of its transport, gets a description of the gateway.
func connection(st *status.Status) string {
	msg := st.Message()
	if m := sizes.FindStringSubmatch(msg); m != nil {
		return "a request or an answer has " + m[1] + " bytes, and the limit is " + m[2]
	}
	if reason, ok := strings.CutPrefix(msg, noToken); ok {
		return reason
	}
	if strings.HasPrefix(msg, "keepalive ping failed") {
		return "the gateway does not answer"
	}
	if st.Code() == codes.DeadlineExceeded && (strings.HasPrefix(msg, deadline) || strings.HasPrefix(msg, reset)) {
		return "the gateway did not answer in time"
	}
	m := transport.FindStringSubmatch(msg)
	if m == nil {
		return msg
	}
	reason := strings.ReplaceAll(m[1], `\"`, `"`)
	if _, dial, ok := strings.Cut(reason, "Error while dialing: "); ok {
		return "cannot reach the gateway: " + dial
	}
	reason = strings.TrimPrefix(reason, "authentication handshake failed: ")
	switch {
	case strings.Contains(reason, "looked like an HTTP/1.1 header"):
		return "the address is of an HTTP listener: use the gateway's gRPC address, which --listen sets"
	case strings.Contains(reason, "first record does not look like a TLS handshake"):
		return "the gateway does not use TLS; connections without TLS are made only if all addresses are on this machine and no --tls-ca is given"
	case strings.HasPrefix(reason, "error reading server preface"):
		return "the gateway accepts connections and does not answer; if it requires TLS, pass --tls-ca"
	case strings.HasPrefix(reason, "tls: "):
		return "cannot make a TLS connection to the gateway: " + strings.TrimPrefix(reason, "tls: ")
	}
	return "the connection to the gateway failed: " + reason
}
