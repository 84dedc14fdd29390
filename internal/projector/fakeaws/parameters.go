package fakeaws

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Types and tiers of parameters.
const (
	String       = "String"
	StringList   = "StringList"
	SecureString = "SecureString"
	Standard     = "Standard"
	Advanced     = "Advanced"
	Intelligent  = "Intelligent-Tiering"

	defaultKey = "alias/aws/ssm"
)

// Version is a version of a parameter.
type Version struct {
	// Name as it was created.
	Name        string
	Version     int64
	Value       string
	Description string
	Type        string
	Tier        string
	// KeyID is empty for types other than SecureString.
	KeyID          string
	AllowedPattern string
	DataType       string
	Labels         []string
	Modified       time.Time
}

type parameter struct {
	// versions, the oldest first; never empty.
	versions []Version
	tags     map[string]string
}

func (p *parameter) newest() Version { return p.versions[len(p.versions)-1] }

type putParameterIn struct {
	Name           string
	Value          string
	Description    *string
	Type           string
	Tier           string
	KeyID          string `json:"KeyId"`
	Overwrite      bool
	AllowedPattern *string
	DataType       string
	Policies       string
	Tags           []tag
}

type tag struct{ Key, Value string }

type putParameterOut struct {
	Tier    string
	Version int64
}

// nested is what AWS takes for a reference to another parameter.
var nested = regexp.MustCompile(`(?s)\{\{.*\}\}`)

// Parameters is Systems Manager Parameter Store.
type Parameters struct {
	*account
	// Guarded by mu.
	byName  map[string]*parameter
	changes map[string][]Change
}

func newParameters(a *account) *Parameters {
	return &Parameters{account: a, byName: make(map[string]*parameter), changes: make(map[string][]Change)}
}

func (s *Parameters) operations() map[string]handler {
	return map[string]handler{
		"AmazonSSM.PutParameter":        operation(s.account, s.putParameter),
		"AmazonSSM.GetParameter":        operation(s.account, s.getParameter),
		"AmazonSSM.GetParameters":       operation(s.account, s.getParameters),
		"AmazonSSM.GetParametersByPath": operation(s.account, s.getParametersByPath),
		"AmazonSSM.GetParameterHistory": operation(s.account, s.getParameterHistory),
		"AmazonSSM.DescribeParameters":  operation(s.account, s.describeParameters),
		"AmazonSSM.DeleteParameter":     operation(s.account, s.deleteParameter),
		"AmazonSSM.DeleteParameters":    operation(s.account, s.deleteParameters),
		"AmazonSSM.AddTagsToResource":   operation(s.account, s.addTagsToResource),
	}
}

func (s *Parameters) putParameter(in putParameterIn) (*putParameterOut, error) {
	name := strings.Trim(in.Name, " ")
	if err := checkName(name); err != nil {
		return nil, err
	}
	old := s.byName[canonical(name)]
	if old != nil && in.Overwrite && in.Type != "" && in.Type != old.newest().Type {
		return nil, fail("HierarchyTypeMismatchException", "Parameter Store doesn't support changing a parameter type in a hierarchy: %s is a %s", name, old.newest().Type)
	}
	v := Version{Name: name, Version: 1, Value: in.Value, Type: in.Type, Tier: in.Tier, KeyID: in.KeyID, DataType: cmp.Or(in.DataType, "text"), Modified: time.Now()}
	if old != nil {
		last := old.newest()
		if !in.Overwrite {
			return nil, fail("ParameterAlreadyExists", "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.")
		}
		if in.Tags != nil {
			return nil, invalid("Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove overwrite flag. To update tags for an existing parameter, please use AddTagsToResource or RemoveTagsFromResource.")
		}
		v.Name, v.Version = last.Name, last.Version+1
		v.Type, v.Tier, v.KeyID = cmp.Or(v.Type, last.Type), cmp.Or(v.Tier, last.Tier), cmp.Or(v.KeyID, last.KeyID)
		v.Description, v.AllowedPattern = last.Description, last.AllowedPattern
	}
	if v.Tier = cmp.Or(v.Tier, Standard); v.Tier == Intelligent {
		v.Tier = s.chooseTier(v, old)
	}
	if in.Description != nil {
		v.Description = *in.Description
	}
	if in.AllowedPattern != nil {
		v.AllowedPattern = *in.AllowedPattern
	}
	if in.Policies != "" {
		return nil, fail("UnsupportedOperationException", "the fake has no parameter policies")
	}
	if err := checkVersion(&v); err != nil {
		return nil, err
	}
	if err := s.checkPut(v, old); err != nil {
		return nil, err
	}
	if err := s.checkKey(v); err != nil {
		return nil, err
	}
	p := s.put(v, false)
	for _, t := range in.Tags {
		p.tags[t.Key] = t.Value
	}
	return &putParameterOut{v.Tier, v.Version}, nil
}

// chooseTier is Intelligent-Tiering: the standard tier, unless the value or the account
// needs the advanced one, or the parameter has it already.
// https://docs.aws.amazon.com/systems-manager/latest/userguide/ps-default-tier.html
func (s *Parameters) chooseTier(v Version, old *parameter) string {
	switch {
	case len(v.Value) > maxStandard, old != nil && old.newest().Tier == Advanced:
		return Advanced
	case old == nil && s.full(Standard):
		return Advanced
	}
	return Standard
}

// full reports whether the account has no room for another parameter of the tier.
func (s *Parameters) full(tier string) bool {
	limit := cmp.Or(s.limits.Standard, 10_000)
	if tier == Advanced {
		limit = cmp.Or(s.limits.Advanced, 100_000)
	}
	n := 0
	for _, p := range s.byName {
		if p.newest().Tier == tier {
			n++
		}
	}
	return n >= limit
}

// checkVersion checks a version by itself.
func checkVersion(v *Version) error {
	switch v.Type {
	case String, StringList:
		if v.KeyID != "" {
			return invalid("KeyId is not required for %s type parameter.", v.Type)
		}
	case SecureString:
		v.KeyID = cmp.Or(v.KeyID, defaultKey)
	case "":
		return invalid("A parameter type is required when you create a parameter.")
	default:
		return fail("UnsupportedParameterType", "The parameter type isn't supported: %s", v.Type)
	}
	limit := maxStandard
	switch v.Tier {
	case Standard:
	case Advanced:
		limit = maxAdvanced
	default:
		return fail("UnsupportedOperationException", "the fake has no tier %s", v.Tier)
	}
	switch {
	case v.Value == "":
		return invalid("1 validation error detected: Value '' at 'value' failed to satisfy constraint: Member must have length greater than or equal to 1")
	case len(v.Value) > limit:
		return invalid("%s tier parameters support a maximum parameter value of %d characters.", v.Tier, limit)
	case nested.MatchString(v.Value):
		return invalid(`Parameter value can't nest another parameter. Do not use "{{}}" in the value.`)
	case len([]rune(v.Description)) > maxDescription:
		return invalid("1 validation error detected: Value at 'description' failed to satisfy constraint: Member must have length less than or equal to %d", maxDescription)
	case v.AllowedPattern != "":
		pattern, err := regexp.Compile(v.AllowedPattern)
		if err != nil {
			return fail("InvalidAllowedPatternException", "The request does not meet the regular expression requirement: %v", err)
		}
		if !pattern.MatchString(v.Value) {
			return fail("ParameterPatternMismatchException", "Parameter value, cannot be validated against allowedPattern: %s", v.AllowedPattern)
		}
	}
	return nil
}

// checkPut checks a version against the earlier ones; old is nil if there are none.
func (s *Parameters) checkPut(v Version, old *parameter) error {
	if (old == nil || old.newest().Tier != v.Tier) && s.full(v.Tier) {
		return fail("ParameterLimitExceeded", "You have exceeded the number of parameters for this Amazon Web Services account. Delete one or more parameters and try again.")
	}
	if old == nil {
		return nil
	}
	last := old.newest()
	switch {
	case v.Tier == Standard && last.Tier == Advanced:
		return invalid("This parameter uses the advanced-parameter tier. You can't downgrade a parameter from the advanced-parameter tier to the standard-parameter tier. If necessary, you can delete the advanced parameter and recreate it as a standard parameter. Be aware that standard parameters have a value limit of 4096 characters.")
	case len(old.versions) >= maxVersions && len(old.versions[0].Labels) > 0:
		return fail("ParameterMaxVersionLimitExceeded", "You attempted to create a new version of %s by calling the PutParameter API with the overwrite flag. Version %d, the oldest version, can't be deleted because it has a label associated with it. Move the label to another version of the parameter, and try again.", v.Name, old.versions[0].Version)
	}
	return nil
}

// put makes v the newest version of its parameter.
func (s *Parameters) put(v Version, byHand bool) *parameter {
	name := canonical(v.Name)
	p := s.byName[name]
	if p == nil {
		p = &parameter{tags: make(map[string]string)}
		s.byName[name] = p
	}
	p.versions = append(p.versions, v)
	if n := len(p.versions) - maxVersions; n > 0 {
		p.versions = slices.Delete(p.versions, 0, n)
	}
	s.changes[name] = append(s.changes[name], Change{Version: v, ByHand: byHand, at: time.Now()})
	return p
}

// delete reports whether the parameter was there.
func (s *Parameters) delete(name string, byHand bool) bool {
	name = canonical(name)
	p := s.byName[name]
	if p == nil {
		return false
	}
	delete(s.byName, name)
	s.changes[name] = append(s.changes[name], Change{Version: p.newest(), ByHand: byHand, Deleted: true, at: time.Now()})
	return true
}

type parameterOut struct {
	ARN              string
	Name             string
	Type             string
	Value            string
	Version          int64
	DataType         string
	LastModifiedDate float64
	Selector         string `json:",omitempty"`
}

// show is the version as reads return it.
func (s *Parameters) show(v Version, selector string, decrypt bool) (parameterOut, error) {
	if decrypt {
		if err := s.checkKey(v); err != nil {
			return parameterOut{}, err
		}
	}
	return parameterOut{
		ARN: arn(v.Name), Name: v.Name, Type: v.Type, Value: v.reveal(decrypt), Version: v.Version,
		DataType: v.DataType, LastModifiedDate: seconds(v.Modified), Selector: selector,
	}, nil
}

// reveal is the value of the version. A SecureString that is not decrypted is the
// ciphertext of KMS: here, bytes that reveal nothing of the value.
func (v Version) reveal(decrypt bool) string {
	if v.Type != SecureString || decrypt {
		return v.Value
	}
	sum := sha256.Sum256([]byte(v.KeyID + "\x00" + v.Value))
	return "AQICAH" + base64.StdEncoding.EncodeToString(sum[:])
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// find resolves name, name:version and name:label.
func (s *Parameters) find(reference string) (v Version, selector string, err error) {
	name, selector, selected := strings.Cut(reference, ":")
	p := s.byName[canonical(name)]
	if p == nil {
		return v, "", fail("ParameterNotFound", "Parameter %s not found.", name)
	}
	if !selected {
		return p.newest(), "", nil
	}
	for _, v := range p.versions {
		if strconv.FormatInt(v.Version, 10) == selector || slices.Contains(v.Labels, selector) {
			return v, ":" + selector, nil
		}
	}
	return v, "", fail("ParameterVersionNotFound", "Systems Manager could not find version %s of %s. Verify the version and try again.", selector, name)
}

type getParameterIn struct {
	Name           string
	WithDecryption bool
}

type getParameterOut struct{ Parameter parameterOut }

func (s *Parameters) getParameter(in getParameterIn) (*getParameterOut, error) {
	v, selector, err := s.find(in.Name)
	if err != nil {
		return nil, err
	}
	p, err := s.show(v, selector, in.WithDecryption)
	return &getParameterOut{p}, err
}

type getParametersIn struct {
	Names          []string
	WithDecryption bool
}

type getParametersOut struct {
	Parameters        []parameterOut
	InvalidParameters []string
}

func (s *Parameters) getParameters(in getParametersIn) (*getParametersOut, error) {
	if err := checkNames(in.Names); err != nil {
		return nil, err
	}
	out := &getParametersOut{Parameters: []parameterOut{}, InvalidParameters: []string{}}
	for _, name := range in.Names {
		v, selector, err := s.find(name)
		if err != nil {
			out.InvalidParameters = append(out.InvalidParameters, name)
			continue
		}
		p, err := s.show(v, selector, in.WithDecryption)
		if err != nil {
			return nil, err
		}
		out.Parameters = append(out.Parameters, p)
	}
	slices.SortFunc(out.Parameters, func(a, b parameterOut) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

func checkNames(names []string) error {
	if len(names) < 1 || len(names) > 10 {
		return invalid("1 validation error detected: Value at 'names' failed to satisfy constraint: Member must have length between 1 and 10, and has %d", len(names))
	}
	return nil
}

type deleteParameterIn struct{ Name string }

func (s *Parameters) deleteParameter(in deleteParameterIn) (struct{}, error) {
	if !s.delete(in.Name, false) {
		return struct{}{}, fail("ParameterNotFound", "Parameter %s not found.", in.Name)
	}
	return struct{}{}, nil
}

type deleteParametersIn struct{ Names []string }

type deleteParametersOut struct{ DeletedParameters, InvalidParameters []string }

func (s *Parameters) deleteParameters(in deleteParametersIn) (*deleteParametersOut, error) {
	if err := checkNames(in.Names); err != nil {
		return nil, err
	}
	out := &deleteParametersOut{[]string{}, []string{}}
	for _, name := range in.Names {
		if s.delete(name, false) {
			out.DeletedParameters = append(out.DeletedParameters, name)
		} else {
			out.InvalidParameters = append(out.InvalidParameters, name)
		}
	}
	return out, nil
}

type addTagsIn struct {
	ResourceType string
	ResourceID   string `json:"ResourceId"`
	Tags         []tag
}

func (s *Parameters) addTagsToResource(in addTagsIn) (struct{}, error) {
	if in.ResourceType != "Parameter" {
		return struct{}{}, fail("InvalidResourceType", "the fake has only parameters, no %s", in.ResourceType)
	}
	p := s.byName[canonical(in.ResourceID)]
	if p == nil {
		return struct{}{}, fail("InvalidResourceId", "The resource ID isn't valid: %s", in.ResourceID)
	}
	for _, t := range in.Tags {
		p.tags[t.Key] = t.Value
	}
	return struct{}{}, nil
}
