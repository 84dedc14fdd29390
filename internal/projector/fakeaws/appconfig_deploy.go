package fakeaws

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
)

type hostedOut struct {
	ApplicationID string `json:"ApplicationId"`
	ProfileID     string `json:"ConfigurationProfileId"`
	VersionNumber int
	ContentType   string
	Description   string `json:",omitempty"`
}

type hostedList struct {
	Items     []hostedOut
	NextToken string `json:",omitempty"`
}

// createVersion compares the locking token with the newest version.
// https://docs.aws.amazon.com/appconfig/2019-10-09/APIReference/API_CreateHostedConfigurationVersion.html
func (s *AppConfig) createVersion(c appConfigCall) (any, error) {
	a, _, p, err := s.place(c)
	if err != nil {
		return nil, err
	}
	v := HostedVersion{Number: p.last + 1, Content: c.body, ContentType: c.Header.Get("Content-Type"), Description: c.Header.Get("Description")}
	switch token := c.Header.Get("Latest-Version-Number"); {
	case p.location != "hosted":
		return nil, badRequest("The configuration profile is not hosted")
	case v.ContentType == "" || len(v.ContentType) > 255:
		return nil, badRequest("Content-Type must have length between 1 and 255")
	case len(v.Description) > maxDescription || containsNonASCII(v.Description):
		return nil, badRequest("Description must have at most %d ASCII characters", maxDescription)
	case len(v.Content) > maxHostedContent:
		return nil, &apiError{"PayloadTooLargeException", "The configuration size is too large.", 413}
	case len(p.versions) >= maxHostedVersions:
		return nil, overQuota("The maximum number of hosted configuration versions is %d", maxHostedVersions)
	case token != "" && token != strconv.Itoa(p.last):
		return nil, conflict("Expected version number %d but received %s", p.last, token)
	}
	p.add(v)
	c.hosted(a, p, v)
	return v.Content, nil
}

func containsNonASCII(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return r > unicode.MaxASCII })
}

func (p *profile) add(v HostedVersion) {
	p.versions, p.last = append(p.versions, v), v.Number
}

// hosted sets the headers of a version.
func (c appConfigCall) hosted(a *application, p *profile, v HostedVersion) {
	c.header.Set("Application-Id", a.id)
	c.header.Set("Configuration-Profile-Id", p.id)
	c.header.Set("Version-Number", strconv.Itoa(v.Number))
	c.header.Set("Content-Type", v.ContentType)
	c.header.Set("Description", v.Description)
}

func (p *profile) version(number string) (HostedVersion, error) {
	for _, v := range p.versions {
		if strconv.Itoa(v.Number) == number {
			return v, nil
		}
	}
	return HostedVersion{}, noResource("Hosted Configuration Version")
}

func (s *AppConfig) getVersion(c appConfigCall) (any, error) {
	a, _, p, err := s.place(c)
	if err != nil {
		return nil, err
	}
	v, err := p.version(c.PathValue("version"))
	if err != nil {
		return nil, err
	}
	c.hosted(a, p, v)
	return v.Content, nil
}

func (s *AppConfig) deleteVersion(c appConfigCall) (any, error) {
	_, _, p, err := s.place(c)
	if err != nil {
		return nil, err
	}
	v, err := p.version(c.PathValue("version"))
	if err != nil {
		return nil, err
	}
	p.versions = slices.DeleteFunc(p.versions, func(is HostedVersion) bool { return is.Number == v.Number })
	return nil, nil
}

func (s *AppConfig) listVersions(c appConfigCall) (any, error) {
	a, _, p, err := s.place(c)
	if err != nil {
		return nil, err
	}
	page, next, err := pageOf(c, p.versions)
	out := hostedList{Items: []hostedOut{}, NextToken: next}
	for _, v := range page {
		out.Items = append(out.Items, hostedOut{a.id, p.id, v.Number, v.ContentType, v.Description})
	}
	return out, err
}

type startIn struct {
	ProfileID              string `json:"ConfigurationProfileId"`
	ConfigurationVersion   string
	StrategyID             string `json:"DeploymentStrategyId"`
	Description            string
	LatestDeploymentNumber *int
}

type deploymentOut struct {
	ProfileID            string `json:"ConfigurationProfileId"`
	ConfigurationName    string
	ConfigurationVersion string
	DeploymentNumber     int
	State                string
	Description          string `json:",omitempty"`
}

type deploymentList struct {
	Items     []deploymentOut
	NextToken string `json:",omitempty"`
}

// startDeployment begins one deployment at a time per environment.
// https://docs.aws.amazon.com/appconfig/2019-10-09/APIReference/API_StartDeployment.html
func (s *AppConfig) startDeployment(c appConfigCall) (any, error) {
	a, e, _, err := s.place(c)
	if err != nil {
		return nil, err
	}
	var in startIn
	if err := c.read(&in); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(a.profiles, func(p *profile) bool { return p.id == in.ProfileID })
	if i < 0 {
		return nil, noResource("Configuration Profile")
	}
	v, err := a.profiles[i].version(in.ConfigurationVersion)
	switch latest := len(e.deployments); {
	case err != nil:
		return nil, err
	case !slices.Contains(s.strategies, in.StrategyID):
		return nil, noResource("Deployment Strategy")
	case len(in.Description) > maxDescription:
		return nil, badRequest("Description must have at most %d characters", maxDescription)
	case in.LatestDeploymentNumber != nil && *in.LatestDeploymentNumber != latest:
		return nil, conflict("The latest deployment is number %d, not %d", latest, *in.LatestDeploymentNumber)
	case latest > 0 && s.state(e.deployments[latest-1]) == "BAKING":
		return nil, conflict("Deployment number %d is in progress", latest)
	}
	d := s.deploy(e, a.profiles[i], v.Number, in.Description)
	return s.deployment(d), nil
}

func (s *AppConfig) deploy(e *environment, p *profile, version int, description string) *deployment {
	d := &deployment{profile: p, number: len(e.deployments) + 1, version: version, description: description, baking: s.faults.Baking}
	e.deployments = append(e.deployments, d)
	return d
}

func (s *AppConfig) deployment(d *deployment) deploymentOut {
	return deploymentOut{d.profile.id, d.profile.name, strconv.Itoa(d.version), d.number, s.state(d), d.description}
}

// listDeployments lists the newest first.
func (s *AppConfig) listDeployments(c appConfigCall) (any, error) {
	_, e, _, err := s.place(c)
	if err != nil {
		return nil, err
	}
	all := slices.Clone(e.deployments)
	slices.Reverse(all)
	page, next, err := pageOf(c, all)
	out := deploymentList{Items: []deploymentOut{}, NextToken: next}
	for _, d := range page {
		out.Items = append(out.Items, s.deployment(d))
	}
	return out, err
}
