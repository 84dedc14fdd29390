package projector

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/netaddr"
)

// Destinations says where sinks may send data and read it from. The caller that starts
// the process decides it: the routes are settings of the ledger, and an operator who
// can change them must not get data, or the machine's files, by naming a place of their
// own.
//
// A sink of the process's own routes, with the same settings, is allowed as it is.
// The zero Destinations allows the services' own endpoints, directories below
// Config.Dir, and no secrets.
type Destinations struct {
	// Endpoints are the URLs that a sink may have as its endpoint.
	Endpoints []string
	// Directories are absolute paths. A sink may write to one of them and below it.
	Directories []string
	// Roles are the AWS roles that a sink may assume, as it names them.
	Roles []string
	// Secrets are the names of the sinks that may receive secrets in the clear.
	Secrets []string
	// Local are the process's own routes; nil for none.
	Local *routes.Table
	// Plaintext allows endpoints on other machines without TLS.
	Plaintext bool
}

// Validate reports what Endpoints and Directories must not be.
func (d Destinations) Validate() error {
	for _, e := range d.Endpoints {
		if _, err := d.parseEndpoint(e); err != nil {
			return err
		}
	}
	for _, dir := range d.Directories {
		if !filepath.IsAbs(dir) || filepath.Clean(dir) == string(filepath.Separator) {
			return fmt.Errorf("sink directory %q: use an absolute path below the root directory", dir)
		}
	}
	return nil
}

// Owns reports whether the sink is one of the process's own routes, unchanged.
func (d Destinations) Owns(s routes.Sink) bool {
	if d.Local == nil {
		return false
	}
	own, ok := d.Local.Sinks[s.Name]
	return ok && own.Kind == s.Kind && string(own.Settings) == string(s.Settings)
}

// secrets reports whether the sink may receive secrets.
func (d Destinations) secrets(s routes.Sink) bool {
	if slices.Contains(d.Secrets, s.Name) {
		return true
	}
	return d.Owns(s) && slices.ContainsFunc(d.Local.Routes(), func(r *routes.Route) bool {
		return r.Secret && r.Secure && r.Wants(s.Name)
	})
}

// parseEndpoint returns scheme and host of a URL that names nothing else.
func (d Destinations) parseEndpoint(text string) (string, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("endpoint %q: use a URL such as https://HOST:PORT", text)
	case u.Scheme == "https":
	case u.Scheme == "http" && (d.Plaintext || netaddr.IsLoopback(u.Hostname())):
	default:
		return "", fmt.Errorf("endpoint %q: use https: only this machine is reachable by http (or start the process with --plaintext)", text)
	}
	return strings.ToLower(u.Scheme + "://" + u.Host), nil
}

// CheckEndpoint checks the form of an endpoint in a sink's settings.
func CheckEndpoint(text string) error {
	_, err := Destinations{Plaintext: true}.parseEndpoint(text)
	return err
}

// Endpoint checks the endpoint that a sink's settings name. An empty one is the
// service's own.
func (s Settings) Endpoint(text string) error {
	if text == "" {
		return nil
	}
	to, err := s.Destinations.parseEndpoint(text)
	if err != nil {
		return fmt.Errorf("settings of sink %s: %w", s.Name, err)
	}
	if s.Local || slices.ContainsFunc(s.Destinations.Endpoints, func(allowed string) bool {
		a, err := s.Destinations.parseEndpoint(allowed)
		return err == nil && a == to
	}) {
		return nil
	}
	return fmt.Errorf("settings of sink %s: endpoint %s is not allowed by this process: start it with --sink-endpoints %s, or name the sink in its own routes file", s.Name, to, to)
}

// Role checks the AWS role that a sink's settings name: a role of another account
// sends the data there. An empty one is the process's own.
func (s Settings) Role(arn string) error {
	if arn == "" || s.Local || slices.Contains(s.Destinations.Roles, arn) {
		return nil
	}
	return fmt.Errorf("settings of sink %s: role %s is not allowed by this process: start it with --sink-roles %s, or name the sink in its own routes file", s.Name, arn, arn)
}

// CheckPath checks the form of a path in a sink's settings.
func CheckPath(path string) error {
	if filepath.IsLocal(path) || filepath.IsAbs(path) {
		return nil
	}
	return fmt.Errorf("path %q leaves the data directory: use a relative path without \"..\", or an absolute one that --sink-directories allows", path)
}

// Directory resolves the path that a sink's settings name: a relative one is below
// Dir, and an absolute one must be allowed. The result has no symbolic links.
func (s Settings) Directory(path string) (string, error) {
	if filepath.IsLocal(path) {
		return s.inside(filepath.Join(s.Dir, path), []string{s.Dir})
	}
	if err := CheckPath(path); err != nil {
		return "", fmt.Errorf("settings of sink %s: %w", s.Name, err)
	}
	if s.Local {
		return s.inside(path, []string{path})
	}
	return s.inside(path, s.Destinations.Directories)
}

// inside checks that a path is one of the directories or below it, after symbolic links
// are followed, and returns where they lead.
func (s Settings) inside(path string, dirs []string) (string, error) {
	to, err := resolve(path)
	if err != nil {
		return "", fmt.Errorf("settings of sink %s: %w", s.Name, err)
	}
	for _, dir := range dirs {
		dir, err := resolve(dir)
		if err != nil {
			return "", fmt.Errorf("settings of sink %s: %w", s.Name, err)
		}
		if rel, err := filepath.Rel(dir, to); err == nil && filepath.IsLocal(rel) {
			return to, nil
		}
	}
	return "", fmt.Errorf("settings of sink %s: path %s is not allowed by this process: start it with --sink-directories %s, or name the sink in its own routes file", s.Name, path, path)
}

// resolve follows the symbolic links of a path, whose end need not exist.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	to, err := filepath.EvalSymlinks(path)
	if parent := filepath.Dir(path); errors.Is(err, os.ErrNotExist) && parent != path {
		if _, err := os.Lstat(path); err == nil {
			return "", fmt.Errorf("%s is a symbolic link to nothing: remove it", path)
		}
		up, err := resolve(parent)
		return filepath.Join(up, filepath.Base(path)), err
	}
	return to, err
}
