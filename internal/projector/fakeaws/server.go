// Package fakeaws is a fake of the AWS services that sinks write to, for tests and
// benchmarks: Systems Manager Parameter Store, Secrets Manager, EventBridge and S3. The
// unchanged AWS SDK talks to it. It keeps everything in memory, checks no signature, and
// knows one account in one region.
//
// It enforces the limits that AWS documents, so that anything that works here is not
// rejected there: its own tests name the page for each. It can inject the faults of AWS
// (Faults), it records requests, and parameters can be edited by hand as in the AWS
// console.
//
// The settings of Environ direct a process to it, Config directs a client.
package fakeaws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/go-json-experiment/json"
)

// The account and the region that everything belongs to.
const (
	Account = "123456789012"
	Region  = "us-east-1"
)

// Server is all services at one address. Its methods may be called at any time.
type Server struct {
	// URL is http://127.0.0.1:port.
	URL string

	http    http.Server
	ctx     context.Context // ends when the server closes
	cancel  context.CancelFunc
	workers sync.WaitGroup
	wake    chan struct{} // of capacity 1: the queue has something to deliver

	mu          sync.Mutex // guards all below
	limits      Limits
	faults      faults
	calls       map[string]int
	parameters  map[string]*parameter
	changes     map[string][]Change
	events      []Event
	buses       map[string]bool // by name
	keys        map[string]bool // of KMS, by ID or alias
	secrets     map[string]*Secret
	buckets     map[string]*bucket // of S3, by name
	sessions    map[string]Caller  // of assumed roles, by access key
	rules       map[ruleID]*rule
	queue       []delivery
	undelivered int
}

// Limits are those that AWS may have another figure for in another account, or had
// in another year.
type Limits struct {
	// Standard and Advanced are the most parameters of each tier; 0 means 10,000
	// and 100,000.
	Standard, Advanced int
	// EventBytes is the exclusive upper limit of the entries of a PutEvents; 0 means 1
	// MiB.
	EventBytes int
}

// Start listens on a port of its own.
func Start() (*Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the fake of AWS: %w", err)
	}
	s := &Server{
		URL:        "http://" + listener.Addr().String(),
		wake:       make(chan struct{}, 1),
		calls:      make(map[string]int),
		parameters: make(map[string]*parameter),
		changes:    make(map[string][]Change),
		buses:      map[string]bool{"default": true},
		keys:       make(map[string]bool),
		secrets:    make(map[string]*Secret),
		buckets:    make(map[string]*bucket),
		sessions:   make(map[string]Caller),
		rules:      make(map[ruleID]*rule),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.http.Handler = s
	s.workers.Go(func() { s.http.Serve(listener) })
	s.workers.Go(s.deliver)
	return s, nil
}

// Close stops deliveries and answers no more.
func (s *Server) Close() {
	s.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		s.http.Close()
	}
	s.workers.Wait()
}

// SetLimits replaces the limits.
func (s *Server) SetLimits(l Limits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits = l
}

// Calls is how often an operation was called, e.g. PutParameter, whatever its outcome.
func (s *Server) Calls(operation string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[operation]
}

// Config is the configuration of a client of the fake. Its client does not retry, so
// that a test sees each answer.
func (s *Server) Config() aws.Config {
	return aws.Config{
		Region:       Region,
		BaseEndpoint: aws.String(s.URL),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "fake", SecretAccessKey: "fake"}, nil
		}),
		Retryer: func() aws.Retryer { return aws.NopRetryer{} },
	}
}

// Environ are the environment variables, NAME=value, that send a process's clients
// to the fake.
func (s *Server) Environ() []string {
	return []string{
		"AWS_ENDPOINT_URL_SSM=" + s.URL,
		"AWS_ENDPOINT_URL_EVENTBRIDGE=" + s.URL,
		"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + s.URL,
		"AWS_ENDPOINT_URL_S3=" + s.URL,
		"AWS_ENDPOINT_URL_STS=" + s.URL,
		"AWS_REGION=" + Region,
		"AWS_ACCESS_KEY_ID=fake",
		"AWS_SECRET_ACCESS_KEY=fake",
	}
}

// operations by the header X-Amz-Target.
var operations = map[string]func(*Server, []byte) (any, error){
	"AmazonSSM.PutParameter":                  operation((*Server).putParameter),
	"AmazonSSM.GetParameter":                  operation((*Server).getParameter),
	"AmazonSSM.GetParameters":                 operation((*Server).getParameters),
	"AmazonSSM.GetParametersByPath":           operation((*Server).getParametersByPath),
	"AmazonSSM.GetParameterHistory":           operation((*Server).getParameterHistory),
	"AmazonSSM.DescribeParameters":            operation((*Server).describeParameters),
	"AmazonSSM.DeleteParameter":               operation((*Server).deleteParameter),
	"AmazonSSM.DeleteParameters":              operation((*Server).deleteParameters),
	"AmazonSSM.AddTagsToResource":             operation((*Server).addTagsToResource),
	"secretsmanager.CreateSecret":             operation((*Server).createSecret),
	"secretsmanager.GetSecretValue":           operation((*Server).getSecretValue),
	"secretsmanager.DescribeSecret":           operation((*Server).describeSecret),
	"secretsmanager.PutSecretValue":           operation((*Server).putSecretValue),
	"secretsmanager.UpdateSecret":             operation((*Server).updateSecret),
	"secretsmanager.UpdateSecretVersionStage": operation((*Server).updateStage),
	"secretsmanager.DeleteSecret":             operation((*Server).deleteSecret),
	"secretsmanager.RestoreSecret":            operation((*Server).restoreSecret),
	"secretsmanager.ListSecrets":              operation((*Server).listSecrets),
	"AWSEvents.PutEvents":                     operation((*Server).putEvents),
	"AWSEvents.CreateEventBus":                operation((*Server).createEventBus),
	"AWSEvents.DescribeEventBus":              operation((*Server).describeEventBus),
	"AWSEvents.PutRule":                       operation((*Server).putRule),
	"AWSEvents.PutTargets":                    operation((*Server).putTargets),
}

// operation reads a request and runs f on it under the server's lock.
func operation[In, Out any](f func(*Server, In) (Out, error)) func(*Server, []byte) (any, error) {
	return func(s *Server, body []byte) (any, error) {
		var in In
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, fail("SerializationException", "%v", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return f(s, in)
	}
}

// ServeHTTP answers a call in the protocol of the service that it is signed for.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch service(r) {
	case "s3":
		s.serveS3(w, r)
	case "sts":
		s.serveSTS(w, r)
	default:
		s.serveJSON(w, r)
	}
}

// service reads the credential scope: Credential=KEY/DATE/REGION/SERVICE/aws4_request.
func service(r *http.Request) string {
	_, scope, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	scope, _, _ = strings.Cut(scope, ",")
	parts := strings.Split(scope, "/")
	if len(parts) < 5 {
		return ""
	}
	return parts[3]
}

// wait makes a call slow.
func (s *Server) wait(ctx context.Context, delay time.Duration) {
	if delay <= 0 {
		return
	}
	select {
	case <-time.After(delay):
	case <-ctx.Done():
	case <-s.ctx.Done():
	}
}

// serveJSON answers a call in the protocol awsJson1.1.
func (s *Server) serveJSON(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has gone
	}
	target := r.Header.Get("X-Amz-Target")
	_, name, _ := strings.Cut(target, ".")
	f := s.arrive(name, s.caller(r), body)
	s.wait(r.Context(), f.delay)
	var out any
	switch run, ok := operations[target]; {
	case !ok:
		err = fail("UnknownOperationException", "the fake does not do %q", target)
	case f.err != nil:
		err = f.err
	default:
		out, err = run(s, body)
	}
	if f.lose {
		panic(http.ErrAbortHandler) // closes the connection without an answer
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if err != nil {
		answer := &apiError{Code: "InternalServerError", Message: err.Error(), status: http.StatusInternalServerError}
		errors.As(err, &answer)
		w.WriteHeader(cmp.Or(answer.status, http.StatusBadRequest))
		out = answer
	}
	json.MarshalWrite(w, out)
}

// apiError is an error as AWS answers it. Its status is 400 unless it says another.
type apiError struct {
	Code    string `json:"__type"`
	Message string `json:"message"`
	status  int
}

func (e *apiError) Error() string { return e.Code + ": " + e.Message }

func fail(code, format string, args ...any) error {
	return &apiError{Code: code, Message: fmt.Sprintf(format, args...)}
}

// invalid is a ValidationException, which both services return for values out of range.
func invalid(format string, args ...any) error {
	return fail("ValidationException", format, args...)
}
