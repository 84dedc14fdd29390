// Package permissions says what the processes of a ledger may do on its NATS
// servers: which subjects each role publishes and subscribes to, and nothing more.
//
// The processes of the ledger's own share an account. An edge gateway has an
// account of its own, into which only its few subjects are imported. That is not a
// matter of taste: NATS lets whoever may ask for anything have the answer sent to any
// subject of its account, without asking whether it may publish there, and a
// subject of the journal would take it.
package permissions

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/journal"
	"github.com/stelehq/stele/projector"
)

// Account is that of the ledger's own processes.
const Account = "STELE"

// inbox is where answers come. Those of an account share it.
const inbox = "_INBOX.>"

const (
	// Install is what makes streams and the consumers of edges, once.
	Install = "install"
	// Backup is what reads all streams as they are, and nothing else.
	Backup = "backup"
)

// Plan says who there is.
type Plan struct {
	// Users are processes of the ledger's own, each with its roles: those of
	// serve, Install and Backup.
	Users [][]string
	Edges []Edge
	// Shards that the ledger has, or will have.
	Shards int
	// Create lets processes that write commits make the streams, too.
	Create bool
}

// Edge is an edge gateway.
type Edge struct {
	Name    string
	Tenants []ledger.Tenant
}

// User is one process, or several that do the same.
type User struct {
	Name      string    `json:"name"`
	Publish   Rights    `json:"publish"`
	Subscribe Rights    `json:"subscribe"`
	Responses *Response `json:"allow_responses,omitempty"`
}

// Rights are subjects.
type Rights struct {
	Allow []string `json:"allow"`
	Deny  []string `json:"deny,omitempty"`
}

// Response lets answers be given to who has asked.
type Response struct {
	Max     int    `json:"max"`
	Expires string `json:"expires"`
}

// Service is a subject that one account lets another use.
type Service struct {
	Subject string `json:"service"`
	// To is what an import is called in the account that imports it.
	To string `json:"to,omitempty"`
	// Stream says that one question has many answers.
	Stream bool `json:"stream,omitempty"`
	// Account is, of an export, the one that may use it; of an import, whose it is.
	Account string `json:"account"`
}

// AccountOf is one account of the servers.
type AccountOf struct {
	Name      string    `json:"name"`
	JetStream bool      `json:"jetstream,omitempty"`
	Users     []User    `json:"users"`
	Exports   []Service `json:"exports,omitempty"`
	Imports   []Service `json:"imports,omitempty"`
}

// checksLast is how long the check of a sink, the longest of orders, may take to be
// answered.
const checksLast = time.Hour

// Accounts are all that the plan takes, the ledger's own first.
func (p Plan) Accounts() []AccountOf {
	own := AccountOf{Name: Account, JetStream: true}
	var deny []string
	for _, e := range p.Edges {
		deny = append(deny, journal.OthersOnEdge(e.Name)...)
	}
	for _, roles := range p.Users {
		u := User{Name: strings.Join(roles, "+"), Subscribe: Rights{Allow: []string{inbox}}}
		for _, role := range roles {
			p.grant(&u, role)
		}
		u.Publish.Allow, u.Subscribe.Allow = unique(u.Publish.Allow), unique(u.Subscribe.Allow)
		if !slices.Contains(roles, Install) {
			u.Publish.Deny = deny
		}
		own.Users = append(own.Users, u)
	}
	accounts := []AccountOf{own}
	for _, e := range p.Edges {
		a := AccountOf{Name: EdgeAccount(e.Name)}
		u := User{Name: e.Name, Subscribe: Rights{Allow: []string{inbox}}}
		for _, r := range journal.EdgeRights(e.Name, e.Tenants, p.Shards) {
			accounts[0].Exports = append(accounts[0].Exports, Service{Subject: r.Subject, Stream: r.Many, Account: a.Name})
			a.Imports = append(a.Imports, Service{Subject: r.Subject, To: r.As, Account: Account})
			u.Publish.Allow = append(u.Publish.Allow, r.As)
		}
		a.Users = []User{u}
		accounts = append(accounts, a)
	}
	return accounts
}

// EdgeAccount is the name of an edge's account.
func EdgeAccount(edge string) string { return Account + "-EDGE-" + edge }

func unique(subjects []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(subjects)))
}

// grant gives what a role takes.
func (p Plan) grant(u *User, role string) {
	publish := func(rights ...[]string) {
		for _, r := range rights {
			u.Publish.Allow = append(u.Publish.Allow, r...)
		}
	}
	if role == Install {
		publish(journal.RightsToCreate(p.Shards), journal.RightsToFollow(p.Shards), journal.RightsToMakeEdges(p.Shards))
		return
	}
	if role == Backup {
		publish(journal.RightsToBackUp(p.Shards))
		return
	}
	publish(journal.RightsToFollow(p.Shards))
	// Each process answers callers, so each may have to record a read.
	publish(journal.Reads.RightsToOpen(), journal.Reads.RightsToAppend())
	// Writers encrypt secrets, and adopt what was changed in a sink.
	write := func() {
		publish(journal.RightsToAppend(p.Shards), journal.Keys.RightsToRead(), journal.Keys.RightsToAppend())
		if p.Create {
			publish(journal.RightsToCreate(p.Shards))
		}
	}
	ask := func() {
		publish([]string{projector.OrderSubjects}, journal.Sinks.RightsToRead(), journal.Parked.RightsToRead(), journal.Reads.RightsToRead())
	}
	switch role {
	case node.RoleLedger:
		write()
		ask()
		publish(journal.Keys.RightsToRemove()) // tenants are shredded
	case node.RoleGateway:
		ask()
		publish(journal.Keys.RightsToRead()) // secrets are revealed
	case node.RoleSigner:
		publish(journal.Checkpoints.RightsToRead(), journal.Checkpoints.RightsToAppend())
	case node.RoleProjector:
		write()
		ask()
		publish(journal.Sinks.RightsToAppend(), journal.Parked.RightsToAppend(), journal.Parked.RightsToRemove(), []string{projector.BeatSubjects})
		u.Subscribe.Allow = append(u.Subscribe.Allow, projector.OrderSubjects, projector.BeatSubjects)
		u.Responses = &Response{Max: 1, Expires: fmt.Sprintf("%.0fh", checksLast.Hours())}
	default:
		panic("permissions: no role " + role)
	}
}
