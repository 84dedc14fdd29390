package dynamodb_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// proxy stands in front of dynalite and makes its answers fail.
type proxy struct {
	endpoint string
	requests atomic.Int64
	fault    atomic.Pointer[func(request) fault]
}

type request struct {
	operation string // e.g. UpdateItem
	body      string
	n         int64 // counted from 1
	// key is the access key that it is signed with.
	key string
}

// fault is what happens to a request; the zero fault is nothing.
type fault struct {
	// code is an error that is answered, and nothing done.
	code   string
	status int
	// lost does what is asked for, and loses the answer.
	lost bool
	// before and after the request is done.
	before, after func()
	// answer changes what is answered.
	answer func([]byte) []byte
}

func throttle() fault {
	return fault{code: "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException", status: http.StatusBadRequest}
}

// between starts a proxy, which passes everything until it is switched.
func between(t testing.TB, dynalite string) *proxy {
	t.Helper()
	target, err := url.Parse(dynalite)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{}
	p.set(nil)
	pass := httputil.NewSingleHostReverseProxy(target)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		f := (*p.fault.Load())(request{operation, string(body), p.requests.Add(1), accessKey(r)})
		if f.before != nil {
			f.before()
		}
		if f.code != "" {
			w.Header().Set("Content-Type", "application/x-amz-json-1.0")
			w.WriteHeader(f.status)
			fmt.Fprintf(w, `{"__type":%q,"message":"so says the test"}`, f.code)
			return
		}
		done := httptest.NewRecorder()
		pass.ServeHTTP(done, r.WithContext(t.Context())) // even when the caller has gone
		if f.after != nil {
			f.after()
		}
		if f.lost {
			panic(http.ErrAbortHandler)
		}
		answer := done.Body.Bytes()
		if f.answer != nil {
			answer = f.answer(answer)
		} else {
			w.Header().Set("X-Amz-Crc32", done.Header().Get("X-Amz-Crc32"))
		}
		w.Header().Set("Content-Type", done.Header().Get("Content-Type"))
		w.WriteHeader(done.Code)
		w.Write(answer)
	}))
	t.Cleanup(server.Close)
	p.endpoint = server.URL
	return p
}

func accessKey(r *http.Request) string {
	_, key, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	key, _, _ = strings.Cut(key, "/")
	return key
}

func (p *proxy) set(f func(request) fault) {
	if f == nil {
		f = func(request) fault { return fault{} }
	}
	p.fault.Store(&f)
}
