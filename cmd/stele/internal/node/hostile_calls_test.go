package node_test

import (
	"context"
	"errors"
	"io"
	"regexp"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// call is one call of a method, or a stream with some requests.
type call struct {
	*siege
	*generator
	method *method
	by     *attacker
}

// Some requests wait for what does not come: for a revision, for a checkpoint.
const callTimeout = 400 * time.Millisecond

func (c *call) make(ctx context.Context) {
	ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(ctx, c.headers()), callTimeout)
	defer cancel()
	switch {
	case c.method.desc.IsStreamingClient(), c.method.desc.IsStreamingServer():
		c.stream(ctx)
	case c.IntN(8) == 0 && readsOnly[c.method.desc.Name()]:
		c.pair(ctx)
	default:
		c.unary(ctx, c.request())
	}
}

// headers are the caller's token, and sometimes more than that.
func (c *call) headers() metadata.MD {
	md, _ := metadata.FromOutgoingContext(c.by.ctx)
	md = md.Copy()
	switch c.IntN(20) {
	case 0:
		md.Append("as-tenant", printable(c.one(c.pool.junk)))
	case 1, 2:
		md.Append("as-tenant", string(victims[c.IntN(len(victims))]))
	case 3:
		for _, name := range []string{"tenant", "x-tenant", "stele-tenant", "as_tenant", "x-as-tenant"} {
			md.Append(name, string(victims[0]))
		}
	}
	return md
}

// printable is what a header may hold.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
}

func (c *call) newMessage(d protoreflect.MessageDescriptor) proto.Message {
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		panic(err) // the schema is linked in
	}
	return t.New().Interface()
}

func (c *call) request() proto.Message {
	req := c.newMessage(c.method.desc.Input())
	c.writes = keeps[c.method.desc.Name()]
	c.fill(req.ProtoReflect(), 0)
	return req
}

// raw is a message as it goes over the wire, and what is encoded in it.
func raw(m proto.Message) [][]byte {
	b, _ := proto.Marshal(m)
	return append(opened(m.ProtoReflect()), b)
}

func sentWith(ctx context.Context, m ...proto.Message) (all [][]byte) {
	md, _ := metadata.FromOutgoingContext(ctx)
	for name, values := range md {
		if name != "authorization" {
			for _, v := range values {
				all = append(all, []byte(v))
			}
		}
	}
	for _, x := range m {
		all = append(all, raw(x)...)
	}
	return all
}

func errorParts(err error, headers ...metadata.MD) (all [][]byte) {
	if err != nil && !errors.Is(err, io.EOF) {
		all = raw(status.Convert(err).Proto())
	}
	for _, md := range headers {
		for _, values := range md {
			for _, v := range values {
				all = append(all, []byte(v))
			}
		}
	}
	return all
}

func (c *call) unary(ctx context.Context, req proto.Message) (proto.Message, error) {
	resp := c.newMessage(c.method.desc.Output())
	var header, trailer metadata.MD
	err := c.world.conn.Invoke(ctx, c.method.name, req, resp, grpc.Header(&header), grpc.Trailer(&trailer))
	c.note(c, sentWith(ctx, req), append(raw(resp), errorParts(err, header, trailer)...), status.Code(err))
	return resp, err
}

// readsOnly change nothing, so that two calls in a row may be compared.
var readsOnly = map[protoreflect.Name]bool{
	"Get": true, "BatchGet": true, "List": true, "ListCommits": true, "Diff": true, "Blame": true, "CheckAccess": true, "Retry": true, "Skip": true,
}

// keeps are the methods that keep what they are asked.
var keeps = map[protoreflect.Name]bool{"Commit": true, "CommitStream": true, "Rollback": true, "Revert": true, "Copy": true}

// pair asks twice, for a key of the victim's that is set and for one that is not.
// The callers' own tenant moves on meanwhile: only what differs again and again
// differs for the key.
func (c *call) pair(ctx context.Context) {
	req := c.request()
	var answers [2]string
	for try := 0; try == 0 || try < 4 && answers[0] != answers[1]; try++ {
		for i, twin := range twins {
			if !rename(req.ProtoReflect(), twin) {
				c.unary(ctx, req)
				return
			}
			resp, err := c.unary(ctx, req)
			if ctx.Err() != nil {
				return
			}
			answers[i] = strings.ReplaceAll(shape(resp, err), twin, "KEY")
		}
	}
	c.paired(c, answers[0], answers[1])
}

// rename makes all that names a key or a prefix name this one, and reports whether
// anything does.
func rename(m protoreflect.Message, key string) (named bool) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch f.Name() {
		case "keys", "prefixes":
			v.List().Truncate(0)
			v.List().Append(protoreflect.ValueOfString(key))
			named = true
		case "key", "prefix", "selector":
			m.Set(f, protoreflect.ValueOfString(key))
			named = true
		case "page_token":
			m.Clear(f)
		}
		return true
	})
	return named
}

var digits = regexp.MustCompile(`\d+(\.\d+)?`)

// shape is an answer without numbers, which change with time.
func shape(resp proto.Message, err error) string {
	text := prototext.MarshalOptions{}.Format(resp) + prototext.MarshalOptions{}.Format(status.Convert(err).Proto())
	text = digits.ReplaceAllString(text, "N")
	return strings.Join(strings.Fields(text), " ") // prototext varies its blanks
}

// stream sends some requests and collects the answers for a while.
func (c *call) stream(ctx context.Context) {
	desc := &grpc.StreamDesc{ClientStreams: c.method.desc.IsStreamingClient(), ServerStreams: c.method.desc.IsStreamingServer()}
	most := 8
	if !desc.ClientStreams {
		most = 1
	}
	if name := c.method.desc.Name(); name == "Watch" || name == "SyncFlags" { // they do not end by themselves
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 60*time.Millisecond)
		defer cancel()
	}
	s, err := c.world.conn.NewStream(ctx, desc, c.method.name)
	if err != nil {
		c.note(c, sentWith(ctx), errorParts(err), status.Code(err))
		return
	}
	var requests []proto.Message
	for range 1 + c.IntN(most) {
		req := c.request()
		if s.SendMsg(req) != nil {
			break
		}
		requests = append(requests, req)
	}
	if c.method.desc.Name() != "Watch" {
		_ = s.CloseSend() // the error comes with the next answer
	}
	var came [][]byte
	answered := codes.Unknown
	for {
		resp := c.newMessage(c.method.desc.Output())
		if err = s.RecvMsg(resp); err != nil {
			break
		}
		answered = codes.OK
		came = append(came, raw(resp)...)
	}
	c.note(c, sentWith(ctx, requests...), append(came, errorParts(err, s.Trailer())...), answered)
}
