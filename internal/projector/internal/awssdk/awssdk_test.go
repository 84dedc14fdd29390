package awssdk_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/awssdk"
)

// A region becomes a part of the service's host name.
func TestAccount_Region(t *testing.T) {
	for region, ok := range map[string]bool{
		"eu-central-1": true, "us-gov-west-1": true,
		"collector.example": false, "x/y": false, "a@collector.example": false, "EU": false, "a b": false,
	} {
		_, err := awssdk.Account{Region: region}.Load(t.Context(), projector.Settings{Name: "s"})
		if (err == nil) != ok {
			t.Errorf("%q: %v", region, err)
		}
	}
}

// A sink's endpoint takes precedence over the environment's, which is for all sinks.
func TestAccount_EndpointComesBeforeTheEnvironment(t *testing.T) {
	for _, variable := range []string{"", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EVENTBRIDGE"} {
		t.Run(variable, func(t *testing.T) {
			calls := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				calls++
				io.WriteString(w, `{"Name":"default"}`)
			}))
			defer server.Close()
			t.Setenv("AWS_ACCESS_KEY_ID", "id")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "key")
			if variable != "" {
				t.Setenv(variable, "http://127.0.0.1:1")
			}
			config, err := awssdk.Account{Region: "eu-central-1", Endpoint: server.URL}.Load(t.Context(), projector.Settings{Name: "s", Local: true})
			if err != nil {
				t.Fatal(err)
			}
			client := eventbridge.NewFromConfig(config, func(o *eventbridge.Options) { o.Retryer = aws.NopRetryer{} })
			if _, err := client.DescribeEventBus(t.Context(), &eventbridge.DescribeEventBusInput{}); err != nil || calls != 1 {
				t.Errorf("the sink's endpoint received %d calls, want 1: %v", calls, err)
			}
		})
	}
}
