package fakeaws_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"
	"github.com/stelehq/stele/internal/projector/fakeaws"
	"go.uber.org/goleak"
)

const (
	apiPut      = "https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html"
	apiGet      = "https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html"
	apiGets     = "https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameters.html"
	apiByPath   = "https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParametersByPath.html"
	apiHistory  = "https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameterHistory.html"
	apiDescribe = "https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DescribeParameters.html"
	apiFilter   = "https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_ParameterStringFilter.html"
	apiDelete   = "https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DeleteParameter.html"
	apiDeletes  = "https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DeleteParameters.html"
	apiTag      = "https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_AddTagsToResource.html"
	names       = "https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-parameter-name-constraints.html"
	tiers       = "https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html"
	throughput  = "https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-throughput.html"
	commonError = "https://docs.aws.amazon.com/systems-manager/latest/APIReference/CommonErrors.html"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T) (*fakeaws.Server, *ssm.Client) {
	t.Helper()
	s, err := fakeaws.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, ssm.NewFromConfig(s.Config())
}

// code is what an SDK's caller sees of an error.
func code(err error) string {
	var api smithy.APIError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &api):
		return api.ErrorCode()
	}
	return err.Error()
}

func put(name, value string) *ssm.PutParameterInput {
	return &ssm.PutParameterInput{Name: &name, Value: &value, Type: types.ParameterTypeString}
}

func overwrite(in *ssm.PutParameterInput) *ssm.PutParameterInput {
	in.Overwrite = aws.Bool(true)
	return in
}

func secure(in *ssm.PutParameterInput) *ssm.PutParameterInput {
	in.Type = types.ParameterTypeSecureString
	return in
}

func advanced(in *ssm.PutParameterInput) *ssm.PutParameterInput {
	in.Tier = types.ParameterTierAdvanced
	return in
}

func TestPutParameter(t *testing.T) {
	_, c := start(t)
	for _, in := range []*ssm.PutParameterInput{
		put("/old/string", "1"), secure(put("/old/secret", "1")), advanced(put("/old/advanced", "1")),
	} {
		if _, err := c.PutParameter(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	described := func(in *ssm.PutParameterInput, n int) *ssm.PutParameterInput {
		in.Description = aws.String(strings.Repeat("é", n))
		return in
	}
	pattern := func(in *ssm.PutParameterInput, p string) *ssm.PutParameterInput {
		in.AllowedPattern = &p
		return in
	}
	untyped := func(in *ssm.PutParameterInput) *ssm.PutParameterInput {
		in.Type = ""
		return in
	}
	standard := func(in *ssm.PutParameterInput) *ssm.PutParameterInput {
		in.Tier = types.ParameterTierStandard
		return in
	}
	key := func(in *ssm.PutParameterInput) *ssm.PutParameterInput {
		in.KeyId = aws.String("alias/k")
		return in
	}
	levels := func(n int) string { return strings.Repeat("/l", n) }
	const arn = len("arn:aws:ssm:us-east-1:123456789012:parameter/")
	for what, c2 := range map[string]struct {
		source string
		in     *ssm.PutParameterInput
		want   string
	}{
		"new":                           {apiPut, put("/a", "v"), ""},
		"exists":                        {apiPut, put("/old/string", "v"), "ParameterAlreadyExists"},
		"overwrite":                     {apiPut, overwrite(put("/old/string", "v")), ""},
		"update without a type":         {apiPut, overwrite(untyped(put("/old/secret", "v"))), ""},
		"create without a type":         {apiPut, untyped(put("/untyped", "v")), "ValidationException"},
		"spaces around":                 {apiPut, put(" /spaces ", "v"), ""},
		"space within":                  {apiPut, put("/a b", "v"), "ValidationException"},
		"other characters":              {names, put("/a+b", "v"), "ValidationException"},
		"not fully qualified":           {names, put("MyParameter3/L1", "v"), "ValidationException"},
		"empty level":                   {names, put("/a//b", "v"), "ValidationException"},
		"aws without a path":            {names, put("awsTestParameter", "v"), "ValidationException"},
		"SSM without a path":            {names, put("SSM-testparameter", "v"), "ValidationException"},
		"aws as a path":                 {names, put("/aws/testparam1", "v"), "AccessDeniedException"},
		"ssm as a path":                 {names, put("/sSm/testparam1", "v"), "ValidationException"},
		"aws at the second level":       {names, put("/a/aws", "v"), ""},
		"fifteen levels":                {names, put("/Level-1/L2/L3/L4/L5/L6/L7/L8/L9/L10/L11/L12/L13/L14/parameter-name", "v"), ""},
		"seventeen levels":              {names, put("/Level-1/L2/L3/L4/L5/L6/L7/L8/L9/L10/L11/L12/L13/L14/L15/L16/parameter-name", "v"), "HierarchyLevelLimitExceededException"},
		"sixteen levels":                {apiPut, put(levels(16), "v"), "HierarchyLevelLimitExceededException"},
		"longest name":                  {apiPut, put("/"+strings.Repeat("n", 1011-arn), "v"), ""},
		"name too long":                 {apiPut, put("/"+strings.Repeat("n", 1012-arn), "v"), "ValidationException"},
		"no value":                      {apiPut, put("/a/empty", ""), "ValidationException"},
		"reference to a parameter":      {apiPut, put("/a/ref", "x {{ssm:name}} y"), "ValidationException"},
		"double brackets":               {apiPut, put("/a/ref", "{{}}"), "ValidationException"},
		"braces of no reference":        {apiPut, put("/a/braces", `{"a":{"b":{}}}`), ""},
		"4 KB":                          {tiers, put("/4kb", strings.Repeat("v", 4096)), ""},
		"more than 4 KB":                {tiers, put("/4kb-2", strings.Repeat("v", 4097)), "ValidationException"},
		"more than 4 KB, but advanced":  {tiers, advanced(put("/8kb", strings.Repeat("v", 8192))), ""},
		"more than 8 KB":                {tiers, advanced(put("/8kb-2", strings.Repeat("v", 8193))), "ValidationException"},
		"to the advanced tier":          {tiers, overwrite(advanced(put("/old/string", "v"))), ""},
		"back to the standard tier":     {tiers, overwrite(standard(put("/old/advanced", "v"))), "ValidationException"},
		"a String made secure":          {apiPut, overwrite(secure(put("/old/string", "v"))), "HierarchyTypeMismatchException"},
		"a secret made plain":           {apiPut, overwrite(put("/old/secret", "v")), "HierarchyTypeMismatchException"},
		"a key for what is not secret":  {apiPut, key(put("/key", "v")), "ValidationException"},
		"longest description":           {apiPut, described(put("/described", "v"), 1024), ""},
		"description too long":          {apiPut, described(put("/described-2", "v"), 1025), "ValidationException"},
		"value that fits the pattern":   {apiPut, pattern(put("/pattern", "42"), `^\d+$`), ""},
		"value that does not fit":       {apiPut, pattern(put("/pattern-2", "x"), `^\d+$`), "ParameterPatternMismatchException"},
		"pattern that is no expression": {apiPut, pattern(put("/pattern-3", "x"), `(`), "InvalidAllowedPatternException"},
		"type that does not exist":      {apiPut, func() *ssm.PutParameterInput { p := put("/t", "v"); p.Type = "Number"; return p }(), "UnsupportedParameterType"},
		"tags with overwrite": {apiPut, func() *ssm.PutParameterInput {
			p := overwrite(put("/old/string", "v"))
			p.Tags = []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}
			return p
		}(), "ValidationException"},
	} {
		if _, err := c.PutParameter(t.Context(), c2.in); code(err) != c2.want {
			t.Errorf("%s: %v, want %q (%s)", what, err, c2.want, c2.source)
		}
	}
}

// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html#API_PutParameter_Errors
func TestPutParameter_Limits(t *testing.T) {
	s, c := start(t)
	s.SetLimits(fakeaws.Limits{Standard: 1, Advanced: 1})
	for _, in := range []*ssm.PutParameterInput{put("/a", "v"), advanced(put("/b", "v")), overwrite(put("/a", "w"))} {
		if _, err := c.PutParameter(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	for _, in := range []*ssm.PutParameterInput{put("/c", "v"), advanced(put("/c", "v")), overwrite(advanced(put("/a", "v")))} {
		if _, err := c.PutParameter(t.Context(), in); code(err) != "ParameterLimitExceeded" {
			t.Errorf("%s: %v", *in.Name, err)
		}
	}
}

// "Parameter Store retains the 100 most recently created versions of a parameter ...
// if the oldest version has a label attached to it, Parameter Store won't delete the
// version".
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html#API_PutParameter_Errors
func TestVersions(t *testing.T) {
	s, c := start(t)
	for i := range 120 {
		if _, err := c.PutParameter(t.Context(), overwrite(put("/a", fmt.Sprint(i)))); err != nil {
			t.Fatal(err)
		}
	}
	var got []int64
	in := &ssm.GetParameterHistoryInput{Name: aws.String("/a"), MaxResults: aws.Int32(50)}
	for {
		page, err := c.GetParameterHistory(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range page.Parameters {
			got = append(got, v.Version)
		}
		if in.NextToken = page.NextToken; in.NextToken == nil {
			break
		}
	}
	if len(got) != 100 || got[0] != 21 || got[99] != 120 || !slices.IsSorted(got) {
		t.Fatalf("the history has the versions %v", got)
	}
	if !s.Parameters.Label("/a", 21, "kept") || s.Parameters.Label("/a", 20, "gone") || s.Parameters.Label("/b", 1, "none") {
		t.Fatal("the wrong versions can be labeled")
	}
	if _, err := c.PutParameter(t.Context(), overwrite(put("/a", "v"))); code(err) != "ParameterMaxVersionLimitExceeded" {
		t.Fatalf("put over a labeled version: %v", err)
	}
	s.Parameters.Label("/a", 120, "kept") // moves it
	if _, err := c.PutParameter(t.Context(), overwrite(put("/a", "v"))); err != nil {
		t.Fatal(err)
	}
	if n := len(s.Parameters.Changes("/a")); n != 121 {
		t.Fatalf("%d changes are known", n)
	}
}

func TestReads(t *testing.T) {
	s, c := start(t)
	if _, err := c.PutParameter(t.Context(), secure(put("/s", "hidden"))); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutParameter(t.Context(), put("plain", "v")); err != nil {
		t.Fatal(err)
	}
	get := func(name string, decrypt bool) (string, string) {
		out, err := c.GetParameter(t.Context(), &ssm.GetParameterInput{Name: &name, WithDecryption: &decrypt})
		if err != nil {
			return "", code(err)
		}
		return *out.Parameter.Value, ""
	}
	if v, _ := get("/s", true); v != "hidden" {
		t.Errorf("decrypted, the secret is %q (%s)", v, apiGet)
	}
	if v, _ := get("/s", false); v == "" || strings.Contains(v, "hidden") {
		t.Errorf("not decrypted, the secret is %q (%s)", v, apiGet)
	}
	s.Parameters.Label("/s", 1, "first")
	for _, name := range []string{"/s:1", "/s:first", "/plain", "plain"} {
		if _, got := get(name, false); got != "" {
			t.Errorf("%s: %s (%s)", name, got, apiGet)
		}
	}
	for name, want := range map[string]string{"/no": "ParameterNotFound", "/s:2": "ParameterVersionNotFound", "/s:no": "ParameterVersionNotFound"} {
		if _, got := get(name, false); got != want {
			t.Errorf("%s: %s, want %s (%s)", name, got, want, apiGet)
		}
	}
	many := &ssm.GetParametersInput{Names: []string{"/s", "/no", "plain"}}
	out, err := c.GetParameters(t.Context(), many)
	if err != nil || len(out.Parameters) != 2 || !slices.Equal(out.InvalidParameters, []string{"/no"}) {
		t.Errorf("GetParameters: %+v, %v (%s)", out, err, apiGets)
	}
	many.Names = slices.Repeat([]string{"/s"}, 11)
	if _, err := c.GetParameters(t.Context(), many); code(err) != "ValidationException" {
		t.Errorf("eleven names: %v (%s)", err, apiGets)
	}
	if _, err := c.GetParameterHistory(t.Context(), &ssm.GetParameterHistoryInput{Name: aws.String("/no")}); code(err) != "ParameterNotFound" {
		t.Errorf("history of nothing: %v (%s)", err, apiHistory)
	}
	s.SetFaults(fakeaws.Faults{DeadKeys: []string{"alias/aws/ssm"}})
	if _, got := get("/s", true); got != "InvalidKeyId" {
		t.Errorf("decrypted with a dead key: %q (%s)", got, apiGet)
	}
	if _, err := c.PutParameter(t.Context(), overwrite(secure(put("/s", "v")))); code(err) != "InvalidKeyId" {
		t.Errorf("encrypted with a dead key: %v (%s)", err, apiPut)
	}
	d, err := c.DescribeParameters(t.Context(), &ssm.DescribeParametersInput{})
	if err != nil || len(d.Parameters) != 2 || d.Parameters[0].KeyId != nil || *d.Parameters[1].KeyId != "alias/aws/ssm" {
		t.Errorf("DescribeParameters: %+v, %v (%s)", d, err, apiDescribe)
	}
}

func TestByPath(t *testing.T) {
	s, c := start(t)
	var all []string
	for i := range 25 {
		all = append(all, fmt.Sprintf("/p/sub/%02d", i))
	}
	all = append(all, "/p/top")
	for _, name := range append([]string{"/p", "/pp/x", "p.x"}, all...) {
		if err := s.Parameters.Edit(name, func(v *fakeaws.Version) { v.Value = "v" }); err != nil {
			t.Fatal(err)
		}
	}
	list := func(in *ssm.GetParametersByPathInput) (found []string, pages int) {
		t.Helper()
		p := ssm.NewGetParametersByPathPaginator(c, in)
		for p.HasMorePages() {
			page, err := p.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			pages++
			for _, v := range page.Parameters {
				found = append(found, *v.Name)
			}
		}
		return found, pages
	}
	if found, pages := list(&ssm.GetParametersByPathInput{Path: aws.String("/p"), Recursive: aws.Bool(true)}); !slices.Equal(found, all) || pages != 3 {
		t.Errorf("recursively, in %d pages: %v (%s)", pages, found, apiByPath)
	}
	s.SetFaults(fakeaws.Faults{ShortPages: true})
	if found, _ := list(&ssm.GetParametersByPathInput{Path: aws.String("/p/"), Recursive: aws.Bool(true)}); !slices.Equal(found, all) {
		t.Errorf("by short pages: %v (%s)", found, apiByPath)
	}
	s.SetFaults(fakeaws.Faults{})
	if found, _ := list(&ssm.GetParametersByPathInput{Path: aws.String("/p")}); !slices.Equal(found, []string{"/p/top"}) {
		t.Errorf("one level: %v (%s)", found, apiByPath)
	}
	for what, c2 := range map[string]struct {
		in   *ssm.GetParametersByPathInput
		want string
	}{
		"no slash":       {&ssm.GetParametersByPathInput{Path: aws.String("p")}, "ValidationException"},
		"eleven a page":  {&ssm.GetParametersByPathInput{Path: aws.String("/p"), MaxResults: aws.Int32(11)}, "ValidationException"},
		"token":          {&ssm.GetParametersByPathInput{Path: aws.String("/p"), NextToken: aws.String("x")}, "InvalidNextToken"},
		"filter by name": {&ssm.GetParametersByPathInput{Path: aws.String("/p"), ParameterFilters: []types.ParameterStringFilter{{Key: aws.String("Name"), Values: []string{"a"}}}}, "InvalidFilterKey"},
	} {
		if _, err := c.GetParametersByPath(t.Context(), c2.in); code(err) != c2.want {
			t.Errorf("%s: %v, want %s (%s)", what, err, c2.want, apiByPath)
		}
	}
}

func TestDescribe(t *testing.T) {
	s, c := start(t)
	for _, in := range []*ssm.PutParameterInput{put("/p/a", "v"), secure(put("/p/sub/b", "v")), advanced(put("/q/c", "v"))} {
		in.Description = aws.String("of " + *in.Name)
		if _, err := c.PutParameter(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	tags := &ssm.AddTagsToResourceInput{ResourceType: types.ResourceTypeForTaggingParameter, ResourceId: aws.String("/q/c"), Tags: []types.Tag{{Key: aws.String("env"), Value: aws.String("prod")}}}
	if _, err := c.AddTagsToResource(t.Context(), tags); err != nil {
		t.Fatal(err)
	}
	if tags := s.Parameters.Tags("/q/c"); tags["env"] != "prod" {
		t.Errorf("the tags are %v", tags)
	}
	tags.ResourceId = aws.String("/no")
	if _, err := c.AddTagsToResource(t.Context(), tags); code(err) != "InvalidResourceId" {
		t.Errorf("tags of nothing: %v (%s)", err, apiTag)
	}
	for what, c2 := range map[string]struct {
		key, option string
		values      []string
		want        string
	}{
		"Name is equal":         {"Name", "Equals", []string{"/p/a", "/q/c", "/no"}, "/p/a /q/c"},
		"Name, equal by itself": {"Name", "", []string{"/p/a"}, "/p/a"},
		"Name begins":           {"Name", "BeginsWith", []string{"/p"}, "/p/a /p/sub/b"},
		"Name contains":         {"Name", "Contains", []string{"sub"}, "/p/sub/b"},
		"Path, recursively":     {"Path", "Recursive", []string{"/p"}, "/p/a /p/sub/b"},
		"Path, one level":       {"Path", "OneLevel", []string{"/p"}, "/p/a"},
		"Type":                  {"Type", "Equals", []string{"SecureString"}, "/p/sub/b"},
		"KeyId":                 {"KeyId", "BeginsWith", []string{"alias/aws"}, "/p/sub/b"},
		"Tier":                  {"Tier", "Equals", []string{"Advanced"}, "/q/c"},
		"tag":                   {"tag:env", "Equals", []string{"prod"}, "/q/c"},
		"no such key":           {"Value", "Equals", []string{"v"}, "InvalidFilterKey"},
		"no such option":        {"Type", "Contains", []string{"v"}, "InvalidFilterOption"},
		"option of paths":       {"Path", "BeginsWith", []string{"/p"}, "InvalidFilterOption"},
		"path without a slash":  {"Path", "Recursive", []string{"p"}, "ValidationException"},
		"51 values":             {"Name", "Equals", slices.Repeat([]string{"/p"}, 51), "InvalidFilterValue"},
	} {
		f := types.ParameterStringFilter{Key: &c2.key, Values: c2.values}
		if c2.option != "" {
			f.Option = &c2.option
		}
		out, err := c.DescribeParameters(t.Context(), &ssm.DescribeParametersInput{ParameterFilters: []types.ParameterStringFilter{f}})
		got := code(err)
		if err == nil {
			var found []string
			for _, p := range out.Parameters {
				found = append(found, *p.Name)
				if *p.Description != "of "+*p.Name {
					t.Errorf("%s is described as %q", *p.Name, *p.Description)
				}
			}
			got = strings.Join(found, " ")
		}
		if got != c2.want {
			t.Errorf("%s: %s, want %s (%s)", what, got, c2.want, apiFilter)
		}
	}
	if _, err := c.DescribeParameters(t.Context(), &ssm.DescribeParametersInput{MaxResults: aws.Int32(51)}); code(err) != "ValidationException" {
		t.Errorf("51 a page: %v (%s)", err, apiDescribe)
	}
	out, err := c.DescribeParameters(t.Context(), &ssm.DescribeParametersInput{MaxResults: aws.Int32(2)})
	if err != nil || len(out.Parameters) != 2 || out.NextToken == nil {
		t.Errorf("a page of two: %+v, %v (%s)", out, err, apiDescribe)
	}
}

func TestDelete(t *testing.T) {
	s, c := start(t)
	for _, name := range []string{"/a", "/b"} {
		if _, err := c.PutParameter(t.Context(), put(name, "v")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.DeleteParameter(t.Context(), &ssm.DeleteParameterInput{Name: aws.String("/a")}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.DeleteParameter(t.Context(), &ssm.DeleteParameterInput{Name: aws.String("/a")}); code(err) != "ParameterNotFound" {
		t.Errorf("deleted twice: %v (%s)", err, apiDelete)
	}
	out, err := c.DeleteParameters(t.Context(), &ssm.DeleteParametersInput{Names: []string{"/a", "/b"}})
	if err != nil || !slices.Equal(out.DeletedParameters, []string{"/b"}) || !slices.Equal(out.InvalidParameters, []string{"/a"}) {
		t.Errorf("DeleteParameters: %+v, %v (%s)", out, err, apiDeletes)
	}
	if _, err := c.DeleteParameters(t.Context(), &ssm.DeleteParametersInput{Names: slices.Repeat([]string{"/a"}, 11)}); code(err) != "ValidationException" {
		t.Errorf("eleven names: %v (%s)", err, apiDeletes)
	}
	if changes := s.Parameters.Changes("/a"); len(changes) != 2 || !changes[1].Deleted || len(s.Parameters.Names()) != 0 {
		t.Errorf("of /a it is known: %+v", changes)
	}
}

// An edit in the AWS console makes a version like any other.
func TestParameters_EditByHand(t *testing.T) {
	s, c := start(t)
	in := put("/a", "v")
	in.Description = aws.String("mine")
	if _, err := c.PutParameter(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if err := s.Parameters.Edit("/a", func(v *fakeaws.Version) { v.Value = "w" }); err != nil {
		t.Fatal(err)
	}
	if v, _ := s.Parameters.Get("/a"); v.Version != 2 || v.Value != "w" || v.Description != "mine" {
		t.Errorf("after the edit it is %+v", v)
	}
	if err := s.Parameters.Edit("/aws/a", func(v *fakeaws.Version) { v.Value = "w" }); err == nil {
		t.Error("a hand can create what AWS reserves")
	}
	if !s.Parameters.Remove("/a") || s.Parameters.Remove("/a") {
		t.Error("it can be removed twice, or not at all")
	}
	changes := s.Parameters.Changes("/a")
	if len(changes) != 3 || changes[0].ByHand || !changes[1].ByHand || !changes[2].ByHand || !changes[2].Deleted {
		t.Errorf("the changes are %+v", changes)
	}
}

func TestFaults(t *testing.T) {
	s, c := start(t)
	do := func() string {
		_, err := c.PutParameter(context.Background(), overwrite(put("/a", "v")))
		return code(err)
	}
	s.SetFaults(fakeaws.Faults{Throttled: 1})
	if got := do(); got != "ThrottlingException" {
		t.Errorf("throttled: %s (%s)", got, throughput)
	}
	s.SetFaults(fakeaws.Faults{Broken: 1})
	if got := do(); got != "InternalServerError" {
		t.Errorf("broken: %s (%s)", got, commonError)
	}
	s.SetFaults(fakeaws.Faults{Rates: map[string]float64{"PutParameter": 0.001}})
	if first, second := do(), do(); first != "" || second != "ThrottlingException" {
		t.Errorf("two at a rate of one in a long time: %q and %q (%s)", first, second, throughput)
	}
	s.SetFaults(fakeaws.Faults{Lost: 1, Operations: []string{"GetParameter"}})
	if got := do(); got != "" {
		t.Errorf("an operation without faults: %s", got)
	}
	before, _ := s.Parameters.Get("/a")
	s.SetFaults(fakeaws.Faults{Lost: 1})
	if got := do(); got == "" {
		t.Error("a lost answer came")
	}
	if after, _ := s.Parameters.Get("/a"); after.Version != before.Version+1 {
		t.Errorf("a call whose answer was lost made version %d of %d", after.Version, before.Version)
	}
	if n := s.Calls("PutParameter"); n != 6 {
		t.Errorf("%d calls were counted", n)
	}
}

// Faults that can be switched on: unknown keys are rejected, operations are denied, and
// DescribeParameters is behind.
func TestParameters_Faults(t *testing.T) {
	s, c := start(t)
	secret := secure(put("/s", "v"))
	secret.KeyId = aws.String("alias/mine")
	if _, err := c.PutParameter(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	s.SetFaults(fakeaws.Faults{UnknownKeys: true})
	if _, err := c.GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String("/s"), WithDecryption: aws.Bool(true)}); code(err) != "InvalidKeyId" {
		t.Errorf("decrypted with a key that does not exist: %v", err)
	}
	s.AddKey("alias/mine")
	if _, err := c.PutParameter(t.Context(), overwrite(secret)); err != nil {
		t.Errorf("once it is made: %v", err)
	}
	s.SetFaults(fakeaws.Faults{Denied: []string{"PutParameter"}})
	if _, err := c.PutParameter(t.Context(), put("/a", "1")); code(err) != "AccessDeniedException" {
		t.Errorf("denied: %v", err)
	}
	describe := func() (names []string) {
		out, err := c.DescribeParameters(t.Context(), &ssm.DescribeParametersInput{})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range out.Parameters {
			names = append(names, fmt.Sprintf("%s %d", *p.Name, p.Version))
		}
		return names
	}
	s.SetFaults(fakeaws.Faults{DescribedAt: time.Now().Add(-time.Hour)})
	if got := describe(); len(got) != 0 {
		t.Errorf("an hour ago there were %v", got)
	}
	s.Parameters.Remove("/s")
	s.SetFaults(fakeaws.Faults{DescribedAt: time.Now()})
	if got := describe(); len(got) != 0 {
		t.Errorf("after the deletion there are %v", got)
	}
}
