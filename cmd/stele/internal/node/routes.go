package node

import (
	"fmt"

	"github.com/stelehq/stele/internal/ledger/routes"
)

// LocalRoutes have every key written to files on this machine.
func LocalRoutes() *routes.Table {
	return table(`{
		"sinks": {"files": {"kind": "directory"}},
		"routes": [{"prefix": "", "sinks": ["files"]}]
	}`)
}

// AWSRoutes send a key where its tag says.
func AWSRoutes() *routes.Table {
	return table(`{
		"sinks": {"dynamodb": {}, "parameterstore": {}},
		"routes": [
			{"prefix": "tenantconfig/", "sinks": ["dynamodb"]},
			{"prefix": "tenant_config_", "sinks": ["dynamodb"]},
			{"prefix": "paramconfig/", "sinks": ["parameterstore"]},
			{"prefix": "param_config_", "sinks": ["parameterstore"]}
		]
	}`)
}

func table(text string) *routes.Table {
	t, err := routes.Parse([]byte(text))
	if err == nil {
		err = CheckRoutes(t)
	}
	if err != nil {
		panic(fmt.Sprintf("routes of this program's own: %v", err))
	}
	return t
}
