package fakeaws

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Caller is whose credentials a call is signed with. The zero Caller has the credentials of
// Config and Environ.
type Caller struct {
	// Role is the ARN of the role that was assumed, with its external ID, the name of
	// its session and the session's tags.
	Role, ExternalID, Session string
	Tags                      map[string]string
}

// sts is the Security Token Service.
type sts struct {
	*account
	sessions map[string]Caller // of assumed roles, by access key; guarded by mu
}

func newSTS(a *account) *sts {
	return &sts{account: a, sessions: make(map[string]Caller)}
}

// caller finds whose key a call is signed with.
func (s *sts) caller(r *http.Request) Caller {
	_, key, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	key, _, _ = strings.Cut(key, "/")
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[key]
}

type assumeRoleResponse struct {
	XMLName xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ AssumeRoleResponse"`
	Result  struct {
		Credentials struct {
			AccessKeyId, SecretAccessKey, SessionToken string
			Expiration                                 string
		}
		AssumedRoleUser struct{ Arn, AssumedRoleId string }
	} `xml:"AssumeRoleResult"`
}

type stsError struct {
	XMLName xml.Name `xml:"ErrorResponse"`
	Error   struct{ Type, Code, Message string }
}

// serve answers AssumeRole in the protocol awsQuery.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
func (s *sts) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has gone
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f := s.arrive(form.Get("Action"), s.caller(r), body)
	s.wait(r.Context(), f.delay)
	w.Header().Set("Content-Type", "text/xml")
	refuse := func(status int, code, message string) {
		answer := stsError{}
		answer.Error.Type, answer.Error.Code, answer.Error.Message = "Sender", code, message
		w.WriteHeader(status)
		xml.NewEncoder(w).Encode(answer)
	}
	name := form.Get("RoleSessionName")
	switch {
	case f.lose:
		panic(http.ErrAbortHandler) // closes the connection without an answer
	case f.err != nil:
		refuse(http.StatusForbidden, "AccessDenied", f.err.Error())
		return
	case form.Get("Action") != "AssumeRole":
		refuse(http.StatusBadRequest, "InvalidAction", "the fake does not do "+form.Get("Action"))
		return
	case len(name) < 2 || len(name) > 64:
		refuse(http.StatusBadRequest, "ValidationError", "RoleSessionName must have length between 2 and 64")
		return
	}
	c := Caller{Role: form.Get("RoleArn"), ExternalID: form.Get("ExternalId"), Session: name, Tags: make(map[string]string)}
	for i := 1; form.Has(fmt.Sprintf("Tags.member.%d.Key", i)); i++ {
		c.Tags[form.Get(fmt.Sprintf("Tags.member.%d.Key", i))] = form.Get(fmt.Sprintf("Tags.member.%d.Value", i))
	}
	s.mu.Lock()
	key := fmt.Sprintf("ASIAFAKE%012d", len(s.sessions)+1)
	s.sessions[key] = c
	s.mu.Unlock()
	answer := assumeRoleResponse{}
	answer.Result.Credentials.AccessKeyId, answer.Result.Credentials.SecretAccessKey, answer.Result.Credentials.SessionToken = key, "fake", "fake"
	answer.Result.Credentials.Expiration = time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	answer.Result.AssumedRoleUser.Arn, answer.Result.AssumedRoleUser.AssumedRoleId = c.Role+"/"+name, "AROAFAKE:"+name
	xml.NewEncoder(w).Encode(answer)
}
