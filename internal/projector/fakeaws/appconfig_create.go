package fakeaws

type appConfigIn struct {
	Name        string
	LocationURI string `json:"LocationUri"`
	Type        string
	Tags        map[string]string
}

type appConfigOut struct {
	ID            string `json:"Id"`
	ApplicationID string `json:"ApplicationId,omitempty"`
	Name          string
	LocationURI   string `json:"LocationUri,omitempty"`
	Type          string `json:",omitempty"`
}

type appConfigList struct {
	Items     []appConfigOut
	NextToken string `json:",omitempty"`
}

// named reads the request to create something. AppConfig lets two have the same name.
func (s *AppConfig) named(c appConfigCall) (in appConfigIn, n named, err error) {
	if err := c.read(&in); err != nil {
		return in, n, err
	}
	if in.Name == "" || len(in.Name) > maxAppConfigName {
		return in, n, badRequest("Name must have length between 1 and %d", maxAppConfigName)
	}
	return in, named{id: s.newID(), name: in.Name, tags: in.Tags}, nil
}

func (s *AppConfig) createApplication(c appConfigCall) (any, error) {
	_, n, err := s.named(c)
	switch {
	case err != nil:
		return nil, err
	case len(s.applications) >= maxApplications:
		return nil, overQuota("The maximum number of applications is %d", maxApplications)
	}
	s.applications = append(s.applications, &application{named: n})
	return appConfigOut{ID: n.id, Name: n.name}, nil
}

func (s *AppConfig) listApplications(c appConfigCall) (any, error) {
	page, next, err := pageOf(c, s.applications)
	out := appConfigList{Items: []appConfigOut{}, NextToken: next}
	for _, a := range page {
		out.Items = append(out.Items, appConfigOut{ID: a.id, Name: a.name})
	}
	return out, err
}

func (s *AppConfig) createEnvironment(c appConfigCall) (any, error) {
	a, _, _, err := s.place(c)
	if err != nil {
		return nil, err
	}
	_, n, err := s.named(c)
	switch {
	case err != nil:
		return nil, err
	case len(a.environments) >= maxEnvironments:
		return nil, overQuota("The maximum number of environments is %d", maxEnvironments)
	}
	a.environments = append(a.environments, &environment{named: n})
	return appConfigOut{ID: n.id, ApplicationID: a.id, Name: n.name}, nil
}

func (s *AppConfig) listEnvironments(c appConfigCall) (any, error) {
	a, _, _, err := s.place(c)
	if err != nil {
		return nil, err
	}
	page, next, err := pageOf(c, a.environments)
	out := appConfigList{Items: []appConfigOut{}, NextToken: next}
	for _, e := range page {
		out.Items = append(out.Items, appConfigOut{ID: e.id, ApplicationID: a.id, Name: e.name})
	}
	return out, err
}

func (s *AppConfig) createProfile(c appConfigCall) (any, error) {
	a, _, _, err := s.place(c)
	if err != nil {
		return nil, err
	}
	in, n, err := s.named(c)
	switch {
	case err != nil:
		return nil, err
	case in.LocationURI == "":
		return nil, badRequest("LocationUri is required")
	case len(a.profiles) >= maxProfiles:
		return nil, overQuota("The maximum number of configuration profiles is %d", maxProfiles)
	}
	p := &profile{named: n, location: in.LocationURI, kind: in.Type}
	a.profiles = append(a.profiles, p)
	return p.out(a), nil
}

func (p *profile) out(a *application) appConfigOut {
	return appConfigOut{ID: p.id, ApplicationID: a.id, Name: p.name, LocationURI: p.location, Type: p.kind}
}

func (s *AppConfig) listProfiles(c appConfigCall) (any, error) {
	a, _, _, err := s.place(c)
	if err != nil {
		return nil, err
	}
	page, next, err := pageOf(c, a.profiles)
	out := appConfigList{Items: []appConfigOut{}, NextToken: next}
	for _, p := range page {
		out.Items = append(out.Items, p.out(a))
	}
	return out, err
}
