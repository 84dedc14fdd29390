package fakeaws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json"
)

// AppConfig is AWS AppConfig: applications with environments, hosted configuration
// profiles, and deployments.
type AppConfig struct {
	*account
	mux *http.ServeMux

	// Guarded by mu.
	applications []*application
	strategies   []string // by ID
	ids          int      // given so far
}

type application struct {
	named
	environments []*environment
	profiles     []*profile
}

type environment struct {
	named
	deployments []*deployment // the oldest first
}

type profile struct {
	named
	location, kind string
	versions       []HostedVersion // the oldest first
	last           int             // number of the newest version that there was
}

// named is what applications, environments and profiles have in common.
type named struct {
	id, name string
	tags     map[string]string
}

// HostedVersion is a version of a hosted configuration.
type HostedVersion struct {
	Number      int
	Content     []byte
	ContentType string
	Description string
}

type deployment struct {
	profile     *profile
	number      int
	version     int
	description string
	// baking is set if it began under Faults.Baking, and rolledBack once it was rolled
	// back.
	baking, rolledBack bool
}

// state is COMPLETE as soon as a deployment has begun, unless a fault keeps it going.
func (s *AppConfig) state(d *deployment) string {
	switch {
	case d.rolledBack:
		return "ROLLED_BACK"
	case d.baking && s.faults.Baking:
		return "BAKING"
	}
	return "COMPLETE"
}

// Quotas: https://docs.aws.amazon.com/general/latest/gr/appconfig.html
const (
	maxApplications   = 100
	maxEnvironments   = 20 // of an application
	maxProfiles       = 100
	maxHostedVersions = 100 // of a profile
	maxHostedContent  = 1 << 20
	maxAppConfigName  = 64
	maxAppConfigPage  = 50
)

func newAppConfig(a *account) *AppConfig {
	s := &AppConfig{account: a, mux: http.NewServeMux(), strategies: []string{
		"AppConfig.AllAtOnce", "AppConfig.Linear50PercentEvery30Seconds", "AppConfig.Canary10Percent20Minutes", "AppConfig.Linear20PercentEvery6Minutes",
	}}
	const app = "/applications/{app}"
	const versions = app + "/configurationprofiles/{profile}/hostedconfigurationversions"
	for _, o := range []struct {
		pattern, name string
		run           func(appConfigCall) (any, error)
	}{
		{"POST /applications", "CreateApplication", s.createApplication},
		{"GET /applications", "ListApplications", s.listApplications},
		{"POST " + app + "/environments", "CreateEnvironment", s.createEnvironment},
		{"GET " + app + "/environments", "ListEnvironments", s.listEnvironments},
		{"POST " + app + "/configurationprofiles", "CreateConfigurationProfile", s.createProfile},
		{"GET " + app + "/configurationprofiles", "ListConfigurationProfiles", s.listProfiles},
		{"POST " + versions, "CreateHostedConfigurationVersion", s.createVersion},
		{"GET " + versions, "ListHostedConfigurationVersions", s.listVersions},
		{"GET " + versions + "/{version}", "GetHostedConfigurationVersion", s.getVersion},
		{"DELETE " + versions + "/{version}", "DeleteHostedConfigurationVersion", s.deleteVersion},
		{"POST " + app + "/environments/{env}/deployments", "StartDeployment", s.startDeployment},
		{"GET " + app + "/environments/{env}/deployments", "ListDeployments", s.listDeployments},
	} {
		s.mux.HandleFunc(o.pattern, func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, o.name, o.run) })
	}
	return s
}

// appConfigCall is a request, with the caller whose credentials it is signed with.
type appConfigCall struct {
	*http.Request
	body   []byte
	header http.Header // of the answer
}

func (c appConfigCall) read(into any) error {
	if err := json.Unmarshal(c.body, into); err != nil {
		return badRequest("%v", err)
	}
	return nil
}

type callerKey struct{}

// serve answers a call in the protocol restJson1.
func (s *AppConfig) serve(w http.ResponseWriter, r *http.Request, by Caller) {
	s.mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, by)))
}

// answer answers a call of an operation.
func (s *AppConfig) answer(w http.ResponseWriter, r *http.Request, operation string, run func(appConfigCall) (any, error)) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has gone
	}
	by, _ := r.Context().Value(callerKey{}).(Caller)
	f := s.arrive(operation, by, body)
	s.wait(r.Context(), f.delay)
	var out any
	if err = f.err; err == nil {
		s.mu.Lock()
		out, err = run(appConfigCall{r, body, w.Header()})
		s.mu.Unlock()
	}
	if f.lose {
		panic(http.ErrAbortHandler) // closes the connection without an answer
	}
	if err != nil {
		answer := &apiError{Code: "InternalServerException", Message: err.Error(), status: http.StatusInternalServerError}
		errors.As(err, &answer)
		w.Header().Set("X-Amzn-Errortype", answer.Code)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(cmp.Or(answer.status, http.StatusBadRequest))
		json.MarshalWrite(w, struct{ Message string }{answer.Message})
		return
	}
	switch out := out.(type) {
	case nil:
		w.WriteHeader(http.StatusNoContent)
	case []byte:
		w.Write(out)
	default:
		w.Header().Set("Content-Type", "application/json")
		json.MarshalWrite(w, out)
	}
}

func badRequest(format string, args ...any) error {
	return &apiError{"BadRequestException", fmt.Sprintf(format, args...), http.StatusBadRequest}
}

func conflict(format string, args ...any) error {
	return &apiError{"ConflictException", fmt.Sprintf(format, args...), http.StatusConflict}
}

func overQuota(format string, args ...any) error {
	return &apiError{"ServiceQuotaExceededException", fmt.Sprintf(format, args...), http.StatusPaymentRequired}
}

func noResource(what string) error {
	return &apiError{"ResourceNotFoundException", what + " not found", http.StatusNotFound}
}

func (s *AppConfig) application(id string) (*application, error) {
	for _, a := range s.applications {
		if a.id == id {
			return a, nil
		}
	}
	return nil, noResource("Application")
}

// place finds the application of a call, and the environment and profile that its path
// names.
func (s *AppConfig) place(c appConfigCall) (a *application, e *environment, p *profile, err error) {
	if a, err = s.application(c.PathValue("app")); err != nil {
		return nil, nil, nil, err
	}
	for _, is := range a.environments {
		if is.id == c.PathValue("env") {
			e = is
		}
	}
	for _, is := range a.profiles {
		if is.id == c.PathValue("profile") {
			p = is
		}
	}
	switch {
	case c.PathValue("env") != "" && e == nil:
		return nil, nil, nil, noResource("Environment")
	case c.PathValue("profile") != "" && p == nil:
		return nil, nil, nil, noResource("Configuration Profile")
	}
	return a, e, p, nil
}

// newID is like AppConfig's: [a-z0-9]{4,7}.
func (s *AppConfig) newID() string {
	s.ids++
	return fmt.Sprintf("a%06d", s.ids)
}

// pageOf cuts a list into pages of at most 50.
func pageOf[T any](c appConfigCall, all []T) (page []T, next string, err error) {
	limit, start := maxAppConfigPage, 0
	q := c.URL.Query()
	if text := q.Get("max_results"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxAppConfigPage {
			return nil, "", badRequest("max_results must be between 1 and %d", maxAppConfigPage)
		}
	}
	if token := q.Get("next_token"); token != "" {
		text, err := readToken(token)
		if err != nil {
			return nil, "", badRequest("invalid token")
		}
		if start, err = strconv.Atoi(text); err != nil {
			return nil, "", badRequest("invalid token")
		}
	}
	start = min(start, len(all))
	end := min(start+limit, len(all))
	if end < len(all) {
		next = writeToken(strconv.Itoa(end))
	}
	return slices.Clone(all[start:end]), next, nil
}
