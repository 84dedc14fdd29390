package parameterstore

import (
	"strings"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/mark"
)

// Of values: https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
const (
	maxStandard = 4096
	maxAdvanced = 8192
)

// text is what a parameter says for a value, and whether that is a string. The error
// is a *projector.RefusedError.
func text(v ledger.Value) (text string, isString bool, err error) {
	if text, isString, err = mark.Text(v); err != nil {
		return "", false, err
	}
	switch _, after, opens := strings.Cut(text, "{{"); {
	case text == "":
		return "", false, projector.Refuse("the value is an empty string, which no parameter can be: delete the key, or set it to null")
	case len(text) > maxAdvanced:
		return "", false, projector.Refuse("the value has %d bytes, and a parameter at most %d: make it smaller, or route the key to another sink", len(text), maxAdvanced)
	case opens && strings.Contains(after, "}}"):
		return "", false, projector.Refuse("the value has {{ and }}, which Parameter Store takes for a reference to another parameter: write it another way, or route the key to another sink")
	}
	return text, isString, nil
}
