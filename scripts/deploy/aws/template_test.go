// Package aws_test holds the CloudFormation template to what can be known of it
// without an account.
package aws_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// template is the file, read as far as a test needs.
type template struct {
	root                              *yaml.Node
	parameters, conditions, resources map[string]*yaml.Node
}

func read(t *testing.T) *template {
	t.Helper()
	text, err := os.ReadFile("template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	root := doc.Content[0]
	tmpl := &template{root, members(at(root, "Parameters")), members(at(root, "Conditions")), members(at(root, "Resources"))}
	if len(tmpl.parameters) == 0 || len(tmpl.resources) == 0 {
		t.Fatal("the template has no parameters or no resources")
	}
	return tmpl
}

// members of a mapping, by name.
func members(n *yaml.Node) map[string]*yaml.Node {
	out := make(map[string]*yaml.Node)
	if n != nil && n.Kind == yaml.MappingNode {
		for i := 0; i < len(n.Content); i += 2 {
			out[n.Content[i].Value] = n.Content[i+1]
		}
	}
	return out
}

// at follows names down from a node; nil where one is not there.
func at(n *yaml.Node, path ...string) *yaml.Node {
	for _, name := range path {
		n = members(n)[name]
	}
	return n
}

// list is a node's elements, or itself: IAM takes one for a list of one.
func list(n *yaml.Node) []*yaml.Node {
	switch {
	case n == nil:
		return nil
	case n.Kind == yaml.SequenceNode && !strings.HasPrefix(n.Tag, "!I"):
		return n.Content
	}
	return []*yaml.Node{n}
}

// walk visits a node and all below it.
func walk(n *yaml.Node, visit func(*yaml.Node)) {
	visit(n)
	for _, c := range n.Content {
		walk(c, visit)
	}
}

// attributes that !GetAtt has of the types that the template uses.
var attributes = map[string][]string{
	"AWS::DynamoDB::Table":  {"Arn", "StreamArn"},
	"AWS::KMS::Key":         {"Arn", "KeyId"},
	"AWS::Events::EventBus": {"Arn", "Name"},
	"AWS::Events::Rule":     {"Arn"},
	"AWS::IAM::Role":        {"Arn", "RoleId"},
	"AWS::Lambda::Function": {"Arn"},
	"AWS::Logs::LogGroup":   {"Arn"},
	"AWS::S3::Bucket":       {"Arn"},
	"AWS::SQS::Queue":       {"Arn", "QueueName", "QueueUrl"},
}

var pseudo = []string{"AWS::AccountId", "AWS::NoValue", "AWS::Partition", "AWS::Region", "AWS::StackName"}

var substitution = regexp.MustCompile(`\$\{([^}]+)\}`)

func TestTemplate_NamesResolve(t *testing.T) {
	tmpl := read(t)
	used := make(map[string]bool)
	for _, rule := range members(at(tmpl.root, "Rules")) {
		walk(rule, func(n *yaml.Node) {
			if n.Tag == "!Ref" && tmpl.parameters[n.Value] == nil {
				t.Errorf("line %d: a rule knows parameters alone, and not %q", n.Line, n.Value)
			}
		})
	}
	ref := func(n *yaml.Node, name string) {
		used[name] = true
		if tmpl.parameters[name] == nil && tmpl.resources[name] == nil && !slices.Contains(pseudo, name) {
			t.Errorf("line %d: there is no %q", n.Line, name)
		}
	}
	attribute := func(n *yaml.Node, name string) {
		resource, attr, _ := strings.Cut(name, ".")
		used[resource] = true
		if r := tmpl.resources[resource]; r == nil || !slices.Contains(attributes[at(r, "Type").Value], attr) {
			t.Errorf("line %d: there is no %q", n.Line, name)
		}
	}
	condition := func(n *yaml.Node, name string) {
		used[name] = true
		if tmpl.conditions[name] == nil {
			t.Errorf("line %d: there is no condition %q", n.Line, name)
		}
	}
	walk(tmpl.root, func(n *yaml.Node) {
		switch n.Tag {
		case "!Ref":
			ref(n, n.Value)
		case "!GetAtt":
			attribute(n, n.Value)
		case "!Sub":
			found := substitution.FindAllStringSubmatch(n.Value, -1)
			if len(found) == 0 {
				t.Errorf("line %d: !Sub substitutes nothing in %q", n.Line, n.Value)
			}
			for _, m := range found {
				if strings.Contains(m[1], ".") {
					attribute(n, m[1])
				} else {
					ref(n, m[1])
				}
			}
		case "!If":
			if len(n.Content) != 3 {
				t.Errorf("line %d: !If has %d parts", n.Line, len(n.Content))
				return
			}
			condition(n, n.Content[0].Value)
		case "!Not", "!Equals", "!Join", "!And":
		default:
			if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
				t.Errorf("line %d: %s is not known to this test", n.Line, n.Tag)
			}
		}
		if n.Tag != "!Sub" && n.Kind == yaml.ScalarNode && strings.Contains(n.Value, "${") {
			t.Errorf("line %d: %q is not substituted", n.Line, n.Value)
		}
	})
	outputs := members(at(tmpl.root, "Outputs"))
	for _, r := range slices.Concat(slices.Collect(maps.Values(tmpl.resources)), slices.Collect(maps.Values(outputs))) {
		if c := at(r, "Condition"); c != nil {
			condition(c, c.Value)
		}
	}
	for _, names := range []map[string]*yaml.Node{tmpl.parameters, tmpl.conditions} {
		for name := range maps.Keys(names) {
			if !used[name] {
				t.Errorf("nothing uses %q", name)
			}
		}
	}
}

// A conditional resource is not referred to without its condition.
func TestTemplate_Conditions(t *testing.T) {
	tmpl := read(t)
	var under func(n *yaml.Node, given map[string]bool)
	under = func(n *yaml.Node, given map[string]bool) {
		if n.Tag == "!If" {
			then := maps.Clone(given)
			then[n.Content[0].Value] = true
			under(n.Content[1], then)
			under(n.Content[2], given)
			return
		}
		if n.Tag == "!Ref" || n.Tag == "!GetAtt" {
			name, _, _ := strings.Cut(n.Value, ".")
			if c := at(tmpl.resources[name], "Condition"); c != nil && !given[c.Value] {
				t.Errorf("line %d: %s is not always there", n.Line, n.Value)
			}
		}
		for _, c := range n.Content {
			under(c, given)
		}
	}
	for _, r := range tmpl.resources {
		given := make(map[string]bool)
		if c := at(r, "Condition"); c != nil {
			given[c.Value] = true
		}
		under(r, given)
	}
	for _, o := range members(at(tmpl.root, "Outputs")) {
		given := make(map[string]bool)
		if c := at(o, "Condition"); c != nil {
			given[c.Value] = true
		}
		under(o, given)
	}
}

// statements are those of all policies, each with where it stands.
func (tmpl *template) statements() map[string]*yaml.Node {
	out := make(map[string]*yaml.Node)
	for name, r := range tmpl.resources {
		documents := []*yaml.Node{at(r, "Properties", "PolicyDocument")}
		for _, p := range list(at(r, "Properties", "Policies")) {
			documents = append(documents, at(p, "PolicyDocument"))
		}
		for _, d := range documents {
			for _, s := range list(at(d, "Statement")) {
				if s.Tag == "!If" {
					s = s.Content[1]
				}
				out[fmt.Sprintf("%s, line %d", name, s.Line)] = s
			}
		}
	}
	return out
}

func TestTemplate_LeastPrivilege(t *testing.T) {
	// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssystemsmanager.html
	// list_awssecretsmanager.html and list_awsappconfig.html have no resource for them.
	everywhere := []string{"ssm:DescribeParameters", "secretsmanager:ListSecrets", "appconfig:ListApplications", "appconfig:CreateApplication"}
	tmpl := read(t)
	statements := tmpl.statements()
	if len(statements) < 8 {
		t.Fatalf("%d statements were found", len(statements))
	}
	for where, s := range statements {
		var actions []string
		for _, a := range list(at(s, "Action")) {
			actions = append(actions, a.Value)
			if strings.Contains(a.Value, "*") {
				t.Errorf("%s: %q", where, a.Value)
			}
		}
		resources := list(at(s, "Resource"))
		if len(resources) == 0 || len(actions) == 0 || at(s, "Effect").Value != "Allow" {
			t.Errorf("%s: it names no resource or no action, or allows nothing", where)
		}
		for _, r := range resources {
			if r.Tag == "!If" {
				r = r.Content[1]
			}
			if r.Tag == "!Ref" && (r.Value == "GatewayTokenSecret" || tmpl.resources[r.Value] != nil) {
				continue // its ARN
			}
			if r.Value == "*" && (len(actions) != 1 || !slices.Contains(everywhere, actions[0])) {
				t.Errorf("%s: %v on everything", where, actions)
			}
			if r.Value != "*" && r.Tag != "!GetAtt" && r.Tag != "!Sub" {
				t.Errorf("%s: %q is nothing of the template", where, r.Value)
			}
		}
	}

	for _, s := range list(at(at(tmpl.resources["ReaderRole"], "Properties", "Policies").Content[0], "PolicyDocument", "Statement")) {
		if s.Tag == "!If" {
			continue // of the key
		}
		for _, a := range list(at(s, "Action")) {
			if strings.HasPrefix(a.Value, "dynamodb:") {
				keys := list(at(s, "Condition", "ForAllValues:StringEquals", "dynamodb:LeadingKeys"))
				if len(keys) != 1 || keys[0].Tag != "!Ref" || keys[0].Value != "ReaderTenant" || at(s, "Condition", "Null", "dynamodb:LeadingKeys") == nil {
					t.Errorf("line %d: %s is not kept to the tenant's own partition", s.Line, a.Value)
				}
			} else if !strings.HasPrefix(a.Value, "ssm:Get") {
				t.Errorf("a reader may %s", a.Value)
			}
		}
		for _, r := range list(at(s, "Resource")) {
			if r.Tag == "!Sub" && !strings.Contains(r.Value, "/${ReaderTenant}") {
				t.Errorf("line %d: %s is not the tenant's alone", r.Line, r.Value)
			}
		}
	}
}

// ownSettings are the actions that only certain settings of a sink need, or a reader.
var ownSettings = []string{
	"dynamodb:BatchGetItem", "dynamodb:CreateTable", "dynamodb:UpdateTable", "dynamodb:UpdateTimeToLive", "dynamodb:UpdateContinuousBackups",
}

var requests = regexp.MustCompile(`\b([A-Z]\w+)Input\{`)

// The projector may make every request that the code of a sink makes.
func TestTemplate_ProjectorWritesToEverySink(t *testing.T) {
	allowed := make(map[string]bool)
	for where, s := range read(t).statements() {
		if strings.HasPrefix(where, "ProjectorRole,") {
			for _, a := range list(at(s, "Action")) {
				allowed[a.Value] = true
			}
		}
	}
	// Requests whose actions have other names.
	other := map[string]string{"s3:ListObjectsV2": "s3:ListBucket", "s3:HeadObject": "s3:GetObject"}
	for kind, service := range map[string]string{
		"appconfig": "appconfig", "dynamodb": "dynamodb", "eventbridge": "events", "parameterstore": "ssm", "s3": "s3", "secretsmanager": "secretsmanager",
	} {
		files, err := filepath.Glob("../../../internal/projector/" + kind + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("the sink %s has no code: %v", kind, err)
		}
		found := 0
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			for _, m := range requests.FindAllSubmatch(text, -1) {
				found++
				action := service + ":" + string(m[1])
				if is := other[action]; is != "" {
					action = is
				}
				if !allowed[action] && !slices.Contains(ownSettings, action) {
					t.Errorf("%s makes the request %s, which the template does not allow", file, action)
				}
			}
		}
		if found == 0 {
			t.Errorf("no request of the sink %s is found", kind)
		}
	}
}

// An event that cannot be handled is kept.
func TestTemplate_RulesHaveDeadLetterQueues(t *testing.T) {
	tmpl := read(t)
	rules := 0
	for name, r := range tmpl.resources {
		if at(r, "Type").Value != "AWS::Events::Rule" {
			continue
		}
		rules++
		allowed := false
		for _, p := range tmpl.resources {
			allowed = allowed || at(p, "Type").Value == "AWS::Lambda::Permission" && at(p, "Properties", "SourceArn").Value == name+".Arn"
		}
		if !allowed {
			t.Errorf("%s may not invoke the function", name)
		}
		for _, target := range list(at(r, "Properties", "Targets")) {
			if at(target, "DeadLetterConfig", "Arn").Value != "DeadLetters.Arn" || at(target, "RetryPolicy", "MaximumRetryAttempts") == nil {
				t.Errorf("%s has a target without retries or dead letters", name)
			}
		}
	}
	if rules != 2 {
		t.Errorf("%d rules were found", rules)
	}
	if at(tmpl.resources["FunctionRetries"], "Properties", "DestinationConfig", "OnFailure", "Destination").Value != "DeadLetters.Arn" {
		t.Error("what the function does not handle is lost")
	}
}

// No secret is in the function's environment, which is visible to everyone with read access to the
// function; nor in the template's own resolution of secrets, which puts it there.
func TestTemplate_SecretsAreReadAtTheStart(t *testing.T) {
	tmpl := read(t)
	walk(tmpl.root, func(n *yaml.Node) {
		if strings.Contains(n.Value, "{{resolve:") {
			t.Errorf("line %d: %q is resolved when the stack is deployed", n.Line, n.Value)
		}
	})
	variables := members(at(tmpl.resources["Function"], "Properties", "Environment", "Variables"))
	for name, v := range map[string]string{"STELE_REFRESH_SECRET_ID": "RefreshSecret", "STELE_TOKEN_ID": "GatewayTokenSecret"} {
		if n := variables[name]; n == nil || n.Tag != "!Ref" || n.Value != v {
			t.Errorf("%s is not that of %s", name, v)
		}
	}
	// A gateway without a token is refused before anything is made.
	rule := at(tmpl.root, "Rules", "GatewayNeedsAToken")
	if rule == nil || at(rule, "RuleCondition") == nil || len(list(at(rule, "Assertions"))) != 1 {
		t.Error("a gateway without a token is not refused")
	}
}

// Lost events and stopped sinks raise an alarm.
func TestAlarms(t *testing.T) {
	tmpl := read(t)
	metrics := make(map[string]bool)
	for name, r := range tmpl.resources {
		if at(r, "Type").Value != "AWS::CloudWatch::Alarm" {
			continue
		}
		metrics[at(r, "Properties", "Namespace").Value+" "+at(r, "Properties", "MetricName").Value] = true
		if at(r, "Properties", "TreatMissingData").Value != "notBreaching" || at(r, "Properties", "AlarmActions") == nil {
			t.Errorf("%s has no action, or is raised without data", name)
		}
	}
	for _, want := range []string{
		"MetricsNamespace stele_sink_stopped", "MetricsNamespace stele_sink_parked", "MetricsNamespace stele_sink_lag_seconds",
		"AWS/Lambda Errors", "AWS/Lambda Throttles", "AWS/SQS ApproximateNumberOfMessagesVisible", "AWS/DynamoDB SystemErrors",
	} {
		if !metrics[want] {
			t.Errorf("there is no alarm of %s", want)
		}
	}
}

// Data that the ledger can rebuild is still not deleted by mistake.
func TestTemplate_TableIsRetained(t *testing.T) {
	table := at(read(t).resources["Table"], "Properties")
	for _, property := range []string{"DeletionProtectionEnabled", "StreamSpecification", "SSESpecification", "PointInTimeRecoverySpecification"} {
		if at(table, property) == nil {
			t.Errorf("the table has no %s", property)
		}
	}
}

// Objects are restored from their old versions, and are not read by accident.
func TestBucket(t *testing.T) {
	bucket := at(read(t).resources["Bucket"], "Properties")
	if at(bucket, "VersioningConfiguration", "Status").Value != "Enabled" {
		t.Error("the bucket keeps no versions")
	}
	for _, block := range []string{"BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"} {
		if n := at(bucket, "PublicAccessBlockConfiguration", block); n == nil || n.Value != "true" {
			t.Errorf("%s is not set", block)
		}
	}
}

// Names have several levels, and so may the prefix.
func TestTemplate_ParameterPrefix(t *testing.T) {
	pattern := regexp.MustCompile("^(" + at(read(t).parameters["ParameterPrefix"], "AllowedPattern").Value + ")$")
	for prefix, ok := range map[string]bool{"stele": true, "platform/prod": true, "/stele": false, "stele/": false, "a//b": false, "a b": false} {
		if pattern.MatchString(prefix) != ok {
			t.Errorf("%q is allowed: %t", prefix, !ok)
		}
	}
}

// The linter knows CloudFormation's own schemas; it runs if it is installed.
func TestLinter(t *testing.T) {
	lint, err := exec.LookPath("cfn-lint")
	if err != nil {
		t.Skip("cfn-lint is not installed")
	}
	if out, err := exec.CommandContext(t.Context(), lint, "template.yaml").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
