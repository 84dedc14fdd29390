// Package fakeaws is a fake of the AWS services that sinks write to, for tests and
// benchmarks: Systems Manager Parameter Store, Secrets Manager, EventBridge, S3, AppConfig and the app clients of Cognito.
// The unchanged AWS SDK talks to it. It keeps everything in memory, checks no signature,
// and knows one account in one region.
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
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/go-json-experiment/json"
	"github.com/stelehq/stele/internal/projector/internal/awssdk"
)

// The account and the region that everything belongs to.
const (
	Account = "123456789012"
	Region  = "us-east-1"
)

// Server is all services at one address. Its methods and its services may be
// called at any time.
type Server struct {
	// URL is http://127.0.0.1:port.
	URL string

	Parameters *Parameters
	Secrets    *Secrets
	Objects    *Objects
	Buses      *Buses
	AppConfig  *AppConfig
	UserPools  *UserPools

	*account
	sts        *sts
	operations map[string]handler // by the header X-Amz-Target
	http       http.Server
	cancel     context.CancelFunc
	workers    sync.WaitGroup
}

// Start listens on a port of its own.
func Start() (*Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the fake of AWS: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	a := &account{ctx: ctx, calls: make(map[string]int), keys: make(map[string]bool)}
	s := &Server{
		URL: "http://" + listener.Addr().String(), account: a, cancel: cancel, operations: make(map[string]handler),
		Parameters: newParameters(a), Secrets: newSecrets(a), Objects: newObjects(a), Buses: newBuses(a), AppConfig: newAppConfig(a), UserPools: newUserPools(a), sts: newSTS(a),
	}
	for _, of := range []map[string]handler{s.Parameters.operations(), s.Secrets.operations(), s.Buses.operations(), s.UserPools.operations()} {
		maps.Copy(s.operations, of)
	}
	s.http.Handler = s
	s.workers.Go(func() { s.http.Serve(listener) })
	s.workers.Go(s.Buses.deliver)
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

// Config is the configuration of a client of the fake. Its client does not retry, so
// that a test sees each answer.
func (s *Server) Config() aws.Config {
	return aws.Config{
		Region:       Region,
		BaseEndpoint: aws.String(s.URL),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "fake", SecretAccessKey: "fake"}, nil
		}),
		HTTPClient: awssdk.HTTPClient(awshttp.NewBuildableClient().GetTransport()),
		Retryer:    func() aws.Retryer { return aws.NopRetryer{} },
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
		"AWS_ENDPOINT_URL_APPCONFIG=" + s.URL,
		"AWS_ENDPOINT_URL_STS=" + s.URL,
		"AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER=" + s.URL,
		"AWS_REGION=" + Region,
		"AWS_ACCESS_KEY_ID=fake",
		"AWS_SECRET_ACCESS_KEY=fake",
	}
}

// ServeHTTP answers a call in the protocol of the service that it is signed for.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch service(r) {
	case "s3":
		s.Objects.serve(w, r, s.sts.caller(r))
	case "appconfig":
		s.AppConfig.serve(w, r, s.sts.caller(r))
	case "sts":
		s.sts.serve(w, r)
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

// serveJSON answers a call in the protocol awsJson1.1.
func (s *Server) serveJSON(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has gone
	}
	target := r.Header.Get("X-Amz-Target")
	_, name, _ := strings.Cut(target, ".")
	f := s.arrive(name, s.sts.caller(r), body)
	s.wait(r.Context(), f.delay)
	var out any
	switch run, ok := s.operations[target]; {
	case !ok:
		err = fail("UnknownOperationException", "the fake does not do %q", target)
	case f.err != nil:
		err = f.err
	default:
		out, err = run(body)
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
