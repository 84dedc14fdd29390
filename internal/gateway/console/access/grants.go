package access

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/internal/gateway/console/format"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// grant is a grant as the policy has it.
type grant struct {
	Roles      []string `json:"roles,omitempty"`
	Subjects   []string `json:"subjects,omitempty"`
	Prefixes   []string `json:"prefixes,omitempty"`
	Operations []string `json:"operations,omitempty"`
}

// grantsView is the grants of a tenant, and what a change of them would do.
type grantsView struct {
	setting
	set    bool // the tenant has grants
	grants []grant
	texts  []string // of the grants, as the policy has them
	form   grant    // of the grant to add
	// the user in the form, and the answer.
	who      identity.Principal
	asked    bool
	may      []effect
	effects  []effect // of the change that is reviewed
	firstOne bool     // the change ends the permissions by roles
}

// grantRoles are the roles that grants can name.
var grantRoles = []identity.Role{identity.Reader, identity.Writer, identity.Admin, identity.Auditor, identity.Revealer}

// effect is one operation of a user, before and after a change.
type effect struct {
	who, operation string
	before, after  count
}

// count is how many of the tenant's keys are in a scope.
type count struct {
	scope policy.Scope
	keys  int
	more  bool
}

func (c count) String() string {
	switch {
	case len(c.scope) == 0:
		return "no keys"
	case c.more:
		return "at least " + format.Plural(c.keys, "key")
	}
	return format.Plural(c.keys, "key")
}

func grantsKey(t ledger.Tenant) string { return string(policy.GrantsKey(t)) }

// document is the grants as the policy has them.
func document(grants []jsontext.Value) string {
	b, _ := json.Marshal(struct { // strings only
		Grants []jsontext.Value `json:"grants"`
	}{grants})
	return string(b)
}

// parse reads the grants of the setting. Each is checked by the policy.
func (g *grantsView) parse() (list []jsontext.Value, err error) {
	if g.value == "" {
		return nil, nil
	}
	var doc struct {
		Grants []jsontext.Value `json:"grants"`
	}
	if err := json.Unmarshal([]byte(g.value), &doc); err != nil {
		return nil, err
	}
	g.set = true
	for _, text := range doc.Grants {
		var one grant
		if err := json.Unmarshal(text, &one); err != nil {
			return nil, err
		}
		g.grants, g.texts = append(g.grants, one), append(g.texts, string(text))
	}
	return doc.Grants, nil
}

// showGrants shows the grants, and what a user may do by them.
func showGrants(v *page.View, code int, g *grantsView) error {
	err := v.Load(func(context.Context) error {
		return g.read(v, grantsKey(v.Tenant))
	})
	if err != nil {
		return err
	}
	if _, err := g.parse(); err != nil {
		g.problem = cmp.Or(g.problem, "The grants are invalid: "+err.Error()+". Edit "+grantsKey(v.Tenant)+" in the tenant _system.")
	}
	if g.who.Subject, g.asked = v.Query("subject"), v.R.Method == http.MethodGet && v.R.Form.Has("subject"); g.asked {
		for _, r := range v.R.Form["role"] {
			g.who.Roles = append(g.who.Roles, identity.Role(r))
		}
		now, err := policy.NewPreview(g.value)
		if err == nil {
			counts := counter{v: v, ctx: v.Ctx, known: map[string]count{}}
			for _, op := range keyOperations {
				c, err := counts.of(now.Scope(&g.who, op))
				if err != nil {
					return err
				}
				g.may = append(g.may, effect{operation: string(op), after: c})
			}
		}
	}
	return v.Show(code, "Grants", page.Command{"-t", string(ledger.System), "get", grantsKey(v.Tenant)}, grantsPage(v, g))
}

// keyOperations are the operations that a preview shows.
var keyOperations = []policy.Operation{policy.ToRead, policy.ToWrite, policy.ToAudit, policy.ToAdminister, policy.ToReveal}

// postGrants adds or removes a grant: first it shows what that changes, then it does it.
func postGrants(v *page.View) error {
	g := &grantsView{}
	f := v.R.PostForm
	g.form = grant{Roles: f["role"], Subjects: list(f.Get("subjects")), Prefixes: list(f.Get("prefixes")), Operations: f["operation"]}
	if v.R.PostFormValue("do") == "commit" {
		return g.commit(v, grantsKey(v.Tenant), "grants", func(code int) error { return showGrants(v, code, g) })
	}
	if err := g.read(v, grantsKey(v.Tenant)); err != nil {
		return err
	}
	texts, err := g.parse()
	if err != nil {
		return status.Error(codes.FailedPrecondition, "the grants are invalid: "+err.Error())
	}
	was, changed := g.value, g.form
	if at, err := strconv.Atoi(v.R.PostFormValue("remove")); err == nil {
		if at < 0 || at >= len(texts) || string(texts[at]) != f.Get("text-"+strconv.Itoa(at)) {
			g.grants, g.texts, g.problem = nil, nil, "The grants have changed meanwhile. Look at them again."
			return showGrants(v, http.StatusConflict, g)
		}
		changed = g.grants[at]
		texts = slices.Delete(slices.Clone(texts), at, at+1)
		g.message = "Remove a grant"
	} else {
		text, err := json.Marshal(g.form)
		if err != nil {
			return err
		}
		texts = append(slices.Clone(texts), text)
		g.message = "Add a grant"
	}
	is := document(texts)
	before, err := policy.NewPreview(was)
	if err != nil {
		return status.Error(codes.FailedPrecondition, "the grants are invalid: "+err.Error())
	}
	after, err := policy.NewPreview(is)
	if err != nil {
		g.grants, g.texts, g.problem = nil, nil, err.Error()
		return showGrants(v, http.StatusUnprocessableEntity, g)
	}
	g.firstOne = was == ""
	if g.effects, err = effectsOf(v, holders(changed), before, after); err != nil {
		return err
	}
	return g.review(v, grantsKey(v.Tenant), is, "grants", "Review the grants", func() error {
		g.grants, g.texts = nil, nil
		return showGrants(v, http.StatusUnprocessableEntity, g)
	}, grantsEffects(g))
}

// list is the words of a field.
func list(field string) []string {
	return strings.FieldsFunc(field, func(r rune) bool { return r == ' ' || r == ',' || r == '\n' || r == '\r' || r == '\t' })
}

// holder is a user that a grant is for.
type holder struct {
	name string
	identity.Principal
}

// holders are those of a grant: its subjects with each role that counts, and for each role
// another user who has only the role.
func holders(g grant) (out []holder) {
	roles := grantRoles
	if len(g.Roles) > 0 {
		roles = nil
		for _, r := range g.Roles {
			roles = append(roles, identity.Role(r))
		}
	}
	for _, subject := range g.Subjects {
		p := identity.Principal{Subject: strings.TrimSuffix(subject, "*")}
		if len(g.Operations) > 0 && len(g.Roles) == 0 {
			out = append(out, holder{named([]string{subject}), p})
			continue
		}
		for _, r := range roles {
			p.Roles = []identity.Role{r}
			out = append(out, holder{named([]string{subject}) + " with the role " + string(r), p})
		}
	}
	for _, r := range grantRoles {
		out = append(out, holder{"others with the role " + string(r), identity.Principal{Roles: []identity.Role{r}}})
	}
	return out
}

// effectsOf compares what holders may do before and after a change.
func effectsOf(v *page.View, who []holder, before, after policy.Preview) (out []effect, err error) {
	counts := counter{v: v, ctx: v.Ctx, known: map[string]count{}}
	for _, h := range who {
		for _, op := range keyOperations {
			was, is := before.Scope(&h.Principal, op), after.Scope(&h.Principal, op)
			if slices.Equal(was, is) {
				continue
			}
			e := effect{who: h.name, operation: string(op)}
			if e.before, err = counts.of(was); err != nil {
				return nil, err
			}
			if e.after, err = counts.of(is); err != nil {
				return nil, err
			}
			out = append(out, e)
		}
	}
	return out, nil
}

// counter counts keys, each prefix once.
type counter struct {
	v     *page.View
	ctx   context.Context
	known map[string]count
}

// countedKeys is how many keys of a prefix a preview counts.
const countedKeys = 10_000

func (c counter) of(scope policy.Scope) (count, error) {
	total := count{scope: scope}
	for _, p := range scope {
		n, ok := c.known[string(p)]
		if !ok {
			list, err := c.v.Config.List(c.ctx, &stelev1.ListRequest{Prefix: string(p), KeysOnly: true, PageSize: countedKeys})
			if err != nil {
				return total, err
			}
			n = count{keys: len(list.Entries), more: list.NextPageToken != ""}
			c.known[string(p)] = n
		}
		total.keys, total.more = total.keys+n.keys, total.more || n.more
	}
	return total, nil
}

// describeHolders names the holders of a grant.
func describeHolders(g grant) string {
	switch {
	case len(g.Roles) == 0:
		return named(g.Subjects)
	case len(g.Subjects) == 0:
		return "users with the role " + strings.Join(g.Roles, " or ")
	}
	return named(g.Subjects) + " with the role " + strings.Join(g.Roles, " or ")
}

// named are subjects, in quotation marks unless they are single words: one may be "users with
// the role admin".
func named(subjects []string) string {
	all := make([]string, len(subjects))
	for i, s := range subjects {
		if all[i] = format.Visible(s); strings.ContainsAny(s, " ,\"") {
			all[i] = strconv.Quote(s)
		}
	}
	return strings.Join(all, ", ")
}

// rolesOf are the names of roles.
func rolesOf(roles []identity.Role) []string {
	out := make([]string, len(roles))
	for i, r := range roles {
		out[i] = string(r)
	}
	return out
}
