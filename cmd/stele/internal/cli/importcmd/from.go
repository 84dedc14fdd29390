package importcmd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/importer"
	"github.com/stelehq/stele/cmd/stele/internal/input"
	"github.com/stelehq/stele/cmd/stele/internal/migrate"
	"github.com/stelehq/stele/cmd/stele/internal/migrate/consul"
	"github.com/stelehq/stele/cmd/stele/internal/migrate/etcd"
	"github.com/stelehq/stele/cmd/stele/internal/migrate/git"
	"github.com/stelehq/stele/cmd/stele/internal/migrate/parameterstore"
	"github.com/stelehq/stele/cmd/stele/internal/routefile"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What --from may be.
const (
	fromEtcd           = "etcd"
	fromConsul         = "consul"
	fromParameterStore = "parameterstore"
	fromGit            = "git"
)

var kindsOfSource = []string{fromEtcd, fromConsul, fromParameterStore, fromGit}

// importOptions are the flags of "stele import".
type importOptions struct {
	from, prefix, into       string
	dryRun, skipUnfit, prune bool
	flatten                  bool
	ref                      string
	renames, asStrings       []string
}

func (o *importOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.from, "from", "", strings.Join(kindsOfSource, ", ")+" (default a change log)")
	f.StringVar(&o.prefix, "prefix", "", "what names begin with there; {tenant} stands for the tenant (default all, of parameterstore the path)")
	f.StringVar(&o.into, "into", "", "what keys begin with here, in its place")
	f.BoolVar(&o.dryRun, "dry-run", false, "only show what would be imported")
	f.BoolVar(&o.skipUnfit, "skip-unfit", false, "import the rest where some names or values do not fit")
	f.BoolVar(&o.prune, "prune", false, "delete keys that begin with --into and are not in the source (consul, git, and what etcd has compacted)")
	f.StringArrayVar(&o.renames, "rename", nil, "rule for names, for example s/,/-/g; may be repeated; --dry-run shows the outcome")
	f.StringArrayVar(&o.asStrings, "as-strings", nil, "take the values of names that begin with this as strings, byte by byte; without =PREFIX all")
	f.Lookup("as-strings").NoOptDefVal = allNames
	f.BoolVar(&o.flatten, "flatten", false, "make a key of each leaf of a document, not of the document (git)")
	f.StringVar(&o.ref, "ref", "HEAD", "branch or commit to import (git)")
	session.CompleteFlag(cmd, "from", cobra.FixedCompletions(kindsOfSource, cobra.ShellCompDirectiveNoFileComp))
}

// check refuses flags that the kind of source has no use for.
func (o *importOptions) check(flags *pflag.FlagSet) error {
	allowed := map[string]string{
		"": "", fromEtcd: "prune as-strings", fromConsul: "prune as-strings", fromParameterStore: "as-strings", fromGit: "flatten ref prune",
	}
	own, ok := allowed[o.from]
	if !ok {
		return failure.Usagef("--from %s: use %s", o.from, strings.Join(kindsOfSource, ", "))
	}
	for _, name := range []string{"prefix", "into", "dry-run", "skip-unfit", "rename", "prune", "flatten", "ref", "as-strings"} {
		special := name == "prune" || name == "flatten" || name == "ref" || name == "as-strings"
		switch {
		case !flags.Changed(name):
		case o.from == "":
			return failure.Usagef("--%s is for --from", name)
		case special && !strings.Contains(own, name):
			return failure.Usagef("--%s is not for --from %s", name, o.from)
		}
	}
	return nil
}

// importFrom reads the source once to see what does not fit, and a second time to
// write it.
func importFrom(ctx context.Context, s *session.Session, o importOptions, name string) error {
	if o.from == fromParameterStore && o.prefix == "" {
		o.prefix = strings.TrimSuffix(name, "/") + "/"
	}
	var renames []migrate.Rename
	for _, rule := range o.renames {
		r, err := migrate.ParseRename(rule)
		if err != nil {
			return failure.Usagef("--rename %w", err)
		}
		renames = append(renames, r)
	}
	mapping, err := migrate.NewMapping(o.prefix, o.into, s.Tenant, renames...)
	switch {
	case err != nil:
		return failure.With(failure.Usage, err)
	case !mapping.TenantInName() && s.Tenant == "":
		return failure.Usagef("no tenant: pass -t TENANT, or {tenant} in --prefix")
	}
	source, end, err := openSource(ctx, o, name, mapping.Root())
	if err != nil {
		return err
	}
	defer end()
	secret := func(ledger.Key) bool { return false }
	if o.from == fromParameterStore { // the only one that keeps secrets
		table, err := routesInForce(ctx, s)
		if err != nil {
			return err
		}
		secret = table.Secret
	}
	p := plan{Session: s, tenants: make(map[ledger.Tenant]*planned)}
	cfg := migrate.Config{
		Source: source, Mapping: mapping, Ledger: (*imported)(s), Prune: o.prune && o.from != fromGit, Secret: secret, Unfit: p.unfit, Kept: p.keep, Noted: p.note,
	}
	for _, prefix := range o.asStrings {
		cfg.AsStrings = append(cfg.AsStrings, strings.TrimPrefix(prefix, allNames))
	}
	if s.Settings.TenantChosen {
		cfg.Only = s.Tenant
	}
	if err := p.read(ctx, cfg); err != nil {
		return err
	}
	if root := mapping.Root(); p.taken == 0 && root != "" && !cfg.Prune {
		return failure.With(failure.NotFound, fmt.Errorf("no name in the source begins with %q", root))
	}
	if repository, ok := source.(*git.Source); ok {
		tellSkipped(repository.Skipped())
	}
	if err := p.tell(o); err != nil || o.dryRun {
		return err
	}
	cfg.Unfit, cfg.Kept, cfg.Noted = func(migrate.Unfit) {}, func(ledger.Tenant, ledger.Key) {}, nil
	lines := migrate.NewReader(ctx, cfg)
	defer lines.Close()
	c := &comparison{Session: s, options: o, lines: lines}
	return importLog(ctx, s, lines, -1, c.compare, func(at *importer.LineError) error {
		fmt.Fprintln(os.Stderr, "everything before it is imported; run the import again to continue, nothing is written twice")
		return blame(at.Step, at)
	})
}

// allNames is the value of --as-strings without a prefix.
const allNames = "*"

// tellSkipped lists the classes of files that are not read.
func tellSkipped(skipped map[string]int) {
	if len(skipped) == 0 {
		return
	}
	var classes []string
	for _, ending := range slices.Sorted(maps.Keys(skipped)) {
		name := ending
		if name == "" {
			name = "without an ending"
		}
		classes = append(classes, fmt.Sprintf("%d %s", skipped[ending], name))
	}
	fmt.Fprintf(os.Stderr, "files that are not read: %s\n", strings.Join(classes, ", "))
}

// openSource opens what --from names, as far as names begin with the root.
func openSource(ctx context.Context, o importOptions, name, root string) (migrate.Source, func(), error) {
	nothing := func() {}
	switch o.from {
	case fromEtcd:
		s, err := etcd.Open(ctx, name, root)
		if err != nil {
			return nil, nil, err
		}
		if at := s.Compacted(); at > 0 {
			fmt.Fprintf(os.Stderr, "etcd has compacted its history up to revision %d: what was before is one commit\n", at)
		}
		return s, func() { s.Close() }, nil
	case fromConsul:
		if strings.HasPrefix(name, "http://") || strings.HasPrefix(name, "https://") {
			s, err := consul.Ask(ctx, name, root)
			return s, nothing, err
		}
		file, _, err := input.Open(name)
		if err != nil {
			return nil, nil, err
		}
		defer file.Close()
		s, err := consul.Read(file)
		return s, nothing, err
	case fromParameterStore:
		s, err := parameterstore.Open(ctx, name)
		return s, nothing, err
	}
	s, err := git.Open(ctx, git.Config{Dir: name, Ref: o.ref, Root: root, Flatten: o.flatten})
	return s, nothing, err
}

// routesInForce are the gateway's, which only operators can read.
func routesInForce(ctx context.Context, s *session.Session) (*routes.Table, error) {
	resp, err := s.Sinks.GetRoutes(ctx, &stelev1.GetRoutesRequest{})
	if status.Code(err) == codes.PermissionDenied {
		return nil, failure.Try(fmt.Errorf("which keys are secret only an operator may ask: %w", err), "an operator's token")
	}
	if err != nil {
		return nil, err
	}
	return routefile.FromGateway(resp)
}

// imported is the ledger's state, as an import needs it.
type imported session.Session

func (i *imported) as(ctx context.Context, t ledger.Tenant) context.Context {
	if t == (*session.Session)(i).TokenTenant() {
		return ctx
	}
	return conn.AsTenant(ctx, t)
}

func (i *imported) Head(ctx context.Context, t ledger.Tenant) (ledger.Revision, time.Time, error) {
	resp, err := i.Ledger.GetHead(i.as(ctx, t), &stelev1.GetHeadRequest{})
	if status.Code(err) == codes.NotFound {
		return 0, time.Time{}, nil
	}
	if err != nil || len(resp.Id) == 0 {
		return 0, time.Time{}, err
	}
	return ledger.Revision(resp.Snapshot.GetHead()), resp.Time.AsTime(), nil
}

func (i *imported) Entries(ctx context.Context, t ledger.Tenant, p ledger.Prefix) (map[ledger.Key]ledger.Value, error) {
	has := make(map[ledger.Key]ledger.Value)
	secret := false
	read := func(entries []*stelev1.Entry) error {
		for _, e := range entries {
			has[ledger.Key(e.Key)] = ledger.Value(e.Value)
			secret = secret || e.Secret
		}
		return nil
	}
	ctx = i.as(ctx, t)
	prefix := string(p) + "*" // byte by byte, as --into is
	err := (*session.Session)(i).Entries(ctx, &stelev1.ListRequest{Prefix: prefix}, read)
	if err == nil && secret { // which is recorded, so only where it must be
		err = (*session.Session)(i).Entries(ctx, &stelev1.ListRequest{Prefix: prefix, Reveal: true}, read)
	}
	return has, err
}

// errFound ends a search.
var errFound = errors.New("found")

func (i *imported) Message(ctx context.Context, t ledger.Tenant, begins string) (message string, err error) {
	req := &stelev1.ListCommitsRequest{Grep: begins, OmitValues: true}
	err = (*session.Session)(i).Commits(i.as(ctx, t), req, 0, func(info *stelev1.CommitInfo) error {
		if message = info.Commit.Message; strings.HasPrefix(message, begins) {
			return errFound
		}
		message = ""
		return nil
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return message, err
}
