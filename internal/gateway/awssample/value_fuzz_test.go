package awssample

import (
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"google.golang.org/protobuf/proto"
)

func FuzzParseConfigs(f *testing.F) {
	f.Add(`{"amcCode":1,"validations":[{"zeroFundBalance":true}],"paymentGateway":[{"link":"a","name":null}]}`)
	f.Add(`[{},{"amcCode":{"a":[1]}}]`)
	f.Fuzz(func(t *testing.T, text string) {
		v, err := ledger.ParseValue(text)
		if err != nil {
			return
		}
		configs, err := parseConfigs(v)
		if err != nil {
			return
		}
		for _, c := range configs {
			if _, err := proto.Marshal(c); err != nil {
				t.Errorf("%s cannot be answered: %v", text, err)
			}
		}
	})
}
