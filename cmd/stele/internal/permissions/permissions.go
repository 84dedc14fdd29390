// Package permissions lists what the processes of a ledger are allowed to do on its
// NATS servers: which subjects each role publishes and subscribes to, and nothing more.
// Edge gateways need none of it: they replicate from other gateways.
package permissions

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/internal/gateway/fleet"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/verify"
	"github.com/stelehq/stele/internal/projector"
)

// Account is the account of the ledger's processes.
const Account = "STELE"

// inbox is where answers arrive. All users of the account share it.
const inbox = "_INBOX.>"

const (
	// Install is what creates the streams, once.
	Install = "install"
	// Backup is what reads all streams as they are, and nothing else.
	Backup = "backup"
)

// Plan says who there is.
type Plan struct {
	// Users are processes of the ledger's own, each with its roles: the roles of serve,
	// Install and Backup.
	Users [][]string
	// Create also lets processes that write commits create the streams.
	Create bool
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
}

// Response lets answers be given to who has asked.
type Response struct {
	Max     int    `json:"max"`
	Expires string `json:"expires"`
}

// AccountOf is an account of the servers.
type AccountOf struct {
	Name      string `json:"name"`
	JetStream bool   `json:"jetstream"`
	Users     []User `json:"users"`
}

// checksLast is how long the check of a sink, the longest of orders, may take to be
// answered.
const checksLast = time.Hour

// Account is the account of the ledger, with a user for each of the plan's processes.
func (p Plan) Account() AccountOf {
	account := AccountOf{Name: Account, JetStream: true}
	for _, roles := range p.Users {
		u := User{Name: strings.Join(roles, "+"), Subscribe: Rights{Allow: []string{inbox}}}
		for _, role := range roles {
			p.grant(&u, role)
		}
		u.Publish.Allow, u.Subscribe.Allow = unique(u.Publish.Allow), unique(u.Subscribe.Allow)
		account.Users = append(account.Users, u)
	}
	return account
}

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
		publish(journal.RightsToCreate(), journal.RightsToFollow())
		return
	}
	if role == Backup {
		publish(journal.RightsToBackUp(), []string{verify.TreeSubject})
		return
	}
	publish(journal.RightsToFollow(), []string{fleet.Subject})
	u.Subscribe.Allow = append(u.Subscribe.Allow, fleet.Subject)
	// Each process answers callers, so each may have to record a read.
	publish(journal.Reads.RightsToOpen(), journal.Reads.RightsToAppend())
	// Writers encrypt secrets, and adopt what was changed in a sink.
	write := func() {
		publish(journal.RightsToAppend(), journal.Keys.RightsToRead(), journal.Keys.RightsToAppend())
		if p.Create {
			publish(journal.RightsToCreate())
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
		u.Subscribe.Allow = append(u.Subscribe.Allow, verify.TreeSubject)
		if u.Responses == nil { // a projector's last longer
			u.Responses = &Response{Max: 1, Expires: "1m"}
		}
	case node.RoleProjector:
		write()
		ask()
		publish(journal.Sinks.RightsToAppend(), journal.Parked.RightsToAppend(), journal.Parked.RightsToRemove(), []string{projector.HeartbeatSubjects})
		u.Subscribe.Allow = append(u.Subscribe.Allow, projector.OrderSubjects, projector.HeartbeatSubjects)
		u.Responses = &Response{Max: projector.RepliesIn(checksLast), Expires: fmt.Sprintf("%.0fh", checksLast.Hours())}
	default:
		panic("permissions: no role " + role)
	}
}
