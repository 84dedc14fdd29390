package document

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
)

// ErrTemplate is the error for a template of a Helm chart: its values are known only after
// Helm has rendered it.
var ErrTemplate = errors.New("the file is a Helm template")

// usesHelm matches actions that only Helm's templates have. Values can also contain "{{", for
// example in the text of a mail.
var usesHelm = regexp.MustCompile(`\{\{[^}]*(\.(Values|Release|Chart|Capabilities|Template)\b|\b(include|toYaml|tpl) )`)

// action matches the actions of templates in general: with one, a file that cannot be read is a
// template and not a damaged file, whose keys must be kept.
var action = regexp.MustCompile(`\{\{-|-\}\}|\{\{\s*(if|else|end|range|with|define|block|template)\b`)

// template replaces the result of reading a file if that is a template.
func template(file string, data []byte, err error) error {
	switch {
	case !bytes.Contains(data, []byte("{{")):
		return err
	case strings.Contains("/"+path.Dir(file)+"/", "/templates/") && (usesHelm.Match(data) || err != nil && action.Match(data)):
		return ErrTemplate
	case err != nil:
		return fmt.Errorf("%w; the file contains {{: if it is a template, import the rendered file instead", err)
	}
	return nil
}
