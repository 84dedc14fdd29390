package fakeaws

import "strconv"

// find returns the first application, environment and profile of these names; nil for
// missing ones.
func (s *AppConfig) find(app, env, profileName string) (e *environment, p *profile) {
	for _, a := range s.applications {
		if a.name != app {
			continue
		}
		for _, is := range a.environments {
			if is.name == env {
				e = is
			}
		}
		for _, is := range a.profiles {
			if is.name == profileName {
				p = is
			}
		}
		return e, p
	}
	return nil, nil
}

// Deployed returns the content that the newest deployment of a profile has put into
// effect; ok is false if there is none.
func (s *AppConfig) Deployed(app, env, profile string) (v HostedVersion, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, p := s.find(app, env, profile)
	if e == nil || p == nil {
		return v, false
	}
	for i := len(e.deployments) - 1; i >= 0; i-- {
		d := e.deployments[i]
		if d.profile != p || d.rolledBack {
			continue
		}
		if v, err := p.version(strconv.Itoa(d.version)); err == nil {
			return v, true
		}
	}
	return v, false
}

// Deployments counts the deployments of an environment.
func (s *AppConfig) Deployments(app, env string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, _ := s.find(app, env, "")
	if e == nil {
		return 0
	}
	return len(e.deployments)
}

// Versions are the versions of a hosted profile, the oldest first.
func (s *AppConfig) Versions(app, profile string) (all []HostedVersion) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, p := s.find(app, "", profile); p != nil {
		all = append(all, p.versions...)
	}
	return all
}

// Deploy makes a version by hand and deploys it, as a user does in the AWS console. With a
// nil content it deploys the oldest version again.
func (s *AppConfig) Deploy(app, env, profile string, content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, p := s.find(app, env, profile)
	v := p.versions[0]
	if content != nil {
		v = HostedVersion{Number: p.last + 1, Content: content, ContentType: "application/json", Description: "by hand"}
		p.add(v)
	}
	s.deploy(e, p, v.Number, "by hand")
}

// RollBack rolls the newest deployment of an environment back, as an alarm does.
func (s *AppConfig) RollBack(app, env string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, _ := s.find(app, env, "")
	e.deployments[len(e.deployments)-1].rolledBack = true
}

// RemoveApplication deletes an application by hand, with all that is in it.
func (s *AppConfig) RemoveApplication(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, a := range s.applications {
		if a.name == name {
			s.applications = append(s.applications[:i:i], s.applications[i+1:]...)
			return
		}
	}
}

// Tags are those of an application.
func (s *AppConfig) Tags(app string) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.applications {
		if a.name == app {
			return a.tags
		}
	}
	return nil
}
