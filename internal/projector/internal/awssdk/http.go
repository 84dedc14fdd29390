package awssdk

import (
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// HTTPClient makes the requests of a client of the SDK. The SDK closes a request's body as
// soon as the answer's headers are there, and its closed bodies fail io.WriterTo with
// io.EOF; net/http then closes the connection, from which the SDK still reads the answer.
// Without io.WriterTo a closed body is just at its end.
//
// It follows no redirects: a request has values in its body, and the process allows its
// endpoint alone.
func HTTPClient(t *http.Transport) aws.HTTPClient {
	return client{&http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

type client struct{ *http.Client }

func (c client) Do(r *http.Request) (*http.Response, error) {
	if r.ContentLength > 0 {
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return c.Client.Do(r)
}
