package awssdk_test

import (
	"testing"

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
