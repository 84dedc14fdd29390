package node_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/internal/ledger/routes"
)

// Settings that a sink could not be opened with are refused with the routes, and the error
// names the field.
func TestCheckRoutes_InvalidSettings(t *testing.T) {
	aws := []struct{ settings, want string }{
		{`"region":"EU west"`, `region is "EU west"`},
		{`"endpoint":"localhost:4566"`, `endpoint "localhost:4566"`},
		{`"role_arn":"admin"`, `role_arn is "admin"`},
		{`"tenant_sessions":true`, "tenant_sessions require role_arn"},
		{`"regoin":"eu-central-1"`, `unknown field "/regoin"`},
		{`"region":1`, `"/region": it must be a string`},
	}
	for _, kind := range []struct {
		name, required string // settings without which none are valid
		more           []struct{ settings, want string }
	}{
		{"appconfig", "", []struct{ settings, want string }{{`"max_bytes":-1`, "max_bytes is -1"}, {`"reads":-1`, "reads is -1"}, {`"tags":{"aws:x":"y"}`, "tags has the key"}}},
		{"dynamodb", "", []struct{ settings, want string }{{`"tombstone_ttl":"1h"`, "tombstone_ttl is"}, {`"layout":"none"`, "layout"}}},
		{"eventbridge", "", []struct{ settings, want string }{{`"bus":""`, `"bus" is empty`}, {`"source":"aws.x"`, `"source" is "aws.x"`}}},
		{"parameterstore", "", []struct{ settings, want string }{
			{`"rate":-1`, "rate is -1"}, {`"tier":"gold"`, `tier is "gold"`}, {`"recreate_after":"soon"`, `recreate_after is "soon"`},
			{`"layout":"/x"`, "layout /x"}, {`"tags":{"aws:x":"y"}`, "tags has the key"},
		}},
		{"s3", `"bucket":"b"`, []struct{ settings, want string }{{`"reads":-1`, "reads is -1"}, {`"prefix":"a b"`, "prefix"}, {`"strip":"a b"`, "strip"}, {`"document":"all.json"`, "document is"}}},
		{"secretsmanager", "", []struct{ settings, want string }{{`"recovery_days":1`, "recovery_days is 1"}, {`"rate":-1`, "rate is -1"}}},
	} {
		for _, tc := range append(kind.more, aws...) {
			settings := tc.settings
			if kind.required != "" {
				settings = kind.required + "," + settings
			}
			refused(t, kind.name, settings, tc.want)
		}
		accepted(t, kind.name, kind.required)
	}
	refused(t, "s3", `"reads":1`, `bucket is ""`)
	refused(t, "directory", `"mode":"0777"`, `mode is "0777"`)
	refused(t, "directory", `"path":"../out"`, `path "../out"`)
	accepted(t, "directory", `"path":"/srv/settings"`)
	refused(t, "webhook", `"url":"http://example.com"`, "url is http://example.com")
	refused(t, "webhook", `"url":"https://example.com","timeout":"1h"`, `timeout is "1h"`)
	accepted(t, "webhook", `"url":"https://example.com"`)
}

func checkSink(t *testing.T, kind, settings string) error {
	t.Helper()
	if settings != "" {
		settings = "," + settings
	}
	table, err := routes.Parse(fmt.Appendf(nil, `{"sinks":{"target":{"kind":%q%s}},"routes":[]}`, kind, settings))
	if err != nil {
		t.Fatal(err)
	}
	return node.CheckRoutes(table)
}

func refused(t *testing.T, kind, settings, want string) {
	t.Helper()
	if err := checkSink(t, kind, settings); err == nil || !strings.HasPrefix(err.Error(), "settings of sink target: ") || !strings.Contains(err.Error(), want) {
		t.Errorf("%s with %s: %v, want %q", kind, settings, err, want)
	}
}

func accepted(t *testing.T, kind, settings string) {
	t.Helper()
	if err := checkSink(t, kind, settings); err != nil {
		t.Errorf("%s with %s: %v", kind, settings, err)
	}
}
