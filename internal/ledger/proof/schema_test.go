package proof_test

import (
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Audit files are as schemas/audit says, and what it refuses does not verify.
func TestAuditFiles_MatchTheirSchema(t *testing.T) {
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(jsonschema.SchemeURLLoader{"file": jsonschema.FileLoader{}})
	line, err := compiler.Compile("../../../schemas/audit/line.json")
	if err != nil {
		t.Fatal(err)
	}
	check := func(text string) error {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			return err
		}
		return line.Validate(v)
	}
	b := sample(t, 12)
	file := b.audit(t, "acme", 2, 5)
	lines := strings.SplitAfter(strings.TrimSuffix(file, "\n"), "\n")
	if len(lines) != 5 {
		t.Fatalf("%d lines", len(lines))
	}
	for i, l := range lines {
		if err := check(l); err != nil {
			t.Errorf("line %d: %v", i+1, err)
		}
	}
	for name, edit := range map[string][2]string{
		"another format":  {`"stele-audit-1"`, `"stele-audit-2"`},
		"no first":        {`"from":2`, `"from":0`},
		"a tenant's name": {`"tenant":"acme"`, `"tenant":"Acme"`},
		"a member more":   {`"index":`, `"more":1,"index":`},
		"no place":        {`"index":`, `"indx":`},
		"a hash cut off":  {`"path":["`, `"path":["A`},
	} {
		edited := strings.Replace(file, edit[0], edit[1], 1)
		if edited == file {
			t.Fatalf("%s: nothing was edited", name)
		}
		failed := false
		for l := range strings.Lines(edited) {
			failed = failed || check(l) != nil
		}
		if !failed {
			t.Errorf("%s: the schema accepts it", name)
		}
		if verifyAudit(edited, &b.key) == nil {
			t.Errorf("%s: it verifies", name)
		}
	}
}
