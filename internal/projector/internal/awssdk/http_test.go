package awssdk_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/awssdk"
)

// An endpoint cannot send values on to another host, for example by http to an address of the
// machine's metadata.
func TestHTTPClient_FollowsNoRedirect(t *testing.T) {
	var reached atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer elsewhere.Close()
	loaded, err := awssdk.Account{Region: "eu-central-1"}.Load(t.Context(), projector.Settings{Name: "s"})
	if err != nil {
		t.Fatal(err)
	}
	for name, client := range map[string]aws.HTTPClient{
		"of an account": loaded.HTTPClient,
		"of a sink":     awssdk.HTTPClient(awshttp.NewBuildableClient().GetTransport()),
	} {
		for _, code := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
			endpoint := httptest.NewServer(http.RedirectHandler(elsewhere.URL, code))
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint.URL, strings.NewReader("value"))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != code || reached.Load() > 0 {
				t.Errorf("the client %s follows %d: it gets %d", name, code, resp.StatusCode)
			}
			endpoint.Close()
		}
	}
}
