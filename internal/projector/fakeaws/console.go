package fakeaws

import (
	"maps"
	"slices"
	"time"
)

// Change is something that happened to a parameter.
type Change struct {
	// Version that was put, or was the newest when the parameter was deleted.
	Version Version
	Deleted bool
	// ByHand says that it was not a client.
	ByHand bool
	at     time.Time
}

// Names are the names of all parameters, in order.
func (s *Parameters) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, p := range s.byName {
		names = append(names, p.newest().Name)
	}
	slices.Sort(names)
	return names
}

// Get returns the newest version of a parameter; ok is false when it is not there.
func (s *Parameters) Get(name string) (v Version, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.byName[canonical(name)]
	if p == nil {
		return Version{}, false
	}
	return p.newest(), true
}

// Changes is the history of a parameter, oldest first, including deletions and later
// changes.
func (s *Parameters) Changes(name string) []Change {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.changes[canonical(name)])
}

// Tags of a parameter.
func (s *Parameters) Tags(name string) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.byName[canonical(name)]; p != nil {
		return maps.Clone(p.tags)
	}
	return nil
}

// Edit changes a parameter by hand, as a user does in the AWS console: it becomes a new
// version, in which edit may change the value, description and anything else. A missing
// parameter is created, of the type String and the standard tier.
func (s *Parameters) Edit(name string, edit func(*Version)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := Version{Name: name, Type: String, Tier: Standard, DataType: "text"}
	old := s.byName[canonical(name)]
	if old != nil {
		v = old.newest()
	} else if err := checkName(name); err != nil {
		return err
	}
	v.Version, v.Labels, v.Modified = v.Version+1, nil, time.Now()
	edit(&v)
	if err := checkVersion(&v); err != nil {
		return err
	}
	if err := s.checkPut(v, old); err != nil {
		return err
	}
	s.put(v, true)
	return nil
}

// Remove deletes a parameter by hand and reports whether it was there.
func (s *Parameters) Remove(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.delete(name, true)
}

// Label attaches a label to a version of a parameter, and reports whether that exists.
func (s *Parameters) Label(name string, version int64, label string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.byName[canonical(name)]
	if p == nil {
		return false
	}
	found := false
	for i := range p.versions {
		v := &p.versions[i]
		v.Labels = slices.DeleteFunc(slices.Clone(v.Labels), func(l string) bool { return l == label })
		if v.Version == version {
			v.Labels, found = append(v.Labels, label), true
		}
	}
	return found
}
