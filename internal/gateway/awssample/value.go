package awssample

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/schemas/configuration"
)

// parseConfigs reads a value as the list of Config that the interface has for
// settings. An object is a list of one. Members that Config does not have are left
// out, as they are there.
func parseConfigs(value ledger.Value) ([]*configuration.Config, error) {
	if jsontext.Value(value).Kind() == '{' {
		value = "[" + value + "]"
	}
	var list []struct {
		AmcCode     text `json:"amcCode"`
		Validations []struct {
			ZeroFundBalance text `json:"zeroFundBalance"`
			MinSIPAmount    text `json:"minSIPAmount"`
		} `json:"validations"`
		PaymentGateway []struct {
			Link text `json:"link"`
			Name text `json:"name"`
		} `json:"paymentGateway"`
	}
	if err := json.Unmarshal([]byte(value), &list); err != nil {
		return nil, fmt.Errorf("it is not a list of objects, or one: %w", err)
	}
	configs := make([]*configuration.Config, len(list))
	for i, c := range list {
		configs[i] = &configuration.Config{AmcCode: string(c.AmcCode)}
		for _, v := range c.Validations {
			configs[i].Validations = append(configs[i].Validations, &configuration.Validations{ZeroFundBalance: string(v.ZeroFundBalance), MinSIPAmount: string(v.MinSIPAmount)})
		}
		for _, p := range c.PaymentGateway {
			configs[i].PaymentGateway = append(configs[i].PaymentGateway, &configuration.PaymentGateway{Link: string(p.Link), Name: string(p.Name)})
		}
	}
	return configs, nil
}

// text is a member that the interface has as a string, whatever its type.
type text string

func (t *text) UnmarshalJSON(b []byte) error {
	*t = ""
	if jsontext.Value(b).Kind() != 'n' {
		*t = text(ledger.Value(b).Text())
	}
	return nil
}
