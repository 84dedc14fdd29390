package appconfig_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/appconfig"
	"github.com/stelehq/stele/internal/projector/fakeaws"
)

// client makes by hand what a sink may find.
type client struct{ *sdk.Client }

func newClient(server *fakeaws.Server) client { return client{sdk.NewFromConfig(server.Config())} }

func (c client) application(t testing.TB, name string) (id string) {
	t.Helper()
	out, err := c.CreateApplication(t.Context(), &sdk.CreateApplicationInput{Name: &name})
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(out.Id)
}

func (c client) profile(t testing.TB, application, name, location string) {
	t.Helper()
	_, err := c.CreateConfigurationProfile(t.Context(), &sdk.CreateConfigurationProfileInput{ApplicationId: &application, Name: &name, LocationUri: &location})
	if err != nil {
		t.Fatal(err)
	}
}
