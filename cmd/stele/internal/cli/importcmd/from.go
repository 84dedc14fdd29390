package importcmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
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
	"github.com/stelehq/stele/cmd/stele/internal/migrate/document"
	"github.com/stelehq/stele/cmd/stele/internal/migrate/etcd"
	"github.com/stelehq/stele/cmd/stele/internal/migrate/files"
	"github.com/stelehq/stele/cmd/stele/internal/migrate/git"
	"github.com/stelehq/stele/cmd/stele/internal/migrate/parameterstore"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/cmd/stele/internal/routefile"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Kinds of sources, the values of --from.
const (
	fromEtcd           = "etcd"
	fromConsul         = "consul"
	fromParameterStore = "parameterstore"
	fromGit            = "git"
	fromFiles          = "files"
)

var kindsOfSource = []string{fromEtcd, fromConsul, fromParameterStore, fromGit, fromFiles}

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
	f.StringVar(&o.from, "from", "", "kind of source: "+strings.Join(kindsOfSource, ", ")+" (default a change log)")
	f.StringVar(&o.prefix, "prefix", "", "beginning of the names to import; {tenant} stands for the tenant (default all names; for parameterstore the path)")
	f.StringVar(&o.into, "into", "", "beginning of the keys, in place of --prefix")
	f.BoolVar(&o.dryRun, "dry-run", false, "show what would be imported, without writing")
	f.BoolVar(&o.skipUnfit, "skip-unfit", false, "omit names and values that the ledger cannot accept")
	f.BoolVar(&o.prune, "prune", false, "make the keys below --into equal to the source: delete keys that it does not have, and set those that differ (not parameterstore)")
	f.StringArrayVar(&o.renames, "rename", nil, "sed rule for names, for example s/,/-/g; can be repeated; --dry-run shows the result")
	f.StringArrayVar(&o.asStrings, "as-strings", nil, "prefix of names whose values are imported as strings, byte for byte; without =PREFIX all (etcd, consul, parameterstore)")
	f.Lookup("as-strings").NoOptDefVal = allNames
	f.BoolVar(&o.flatten, "flatten", false, "make a key of each leaf of a document (git, files)")
	f.StringVar(&o.ref, "ref", "HEAD", "branch or commit at which the import ends (git)")
	session.CompleteFlag(cmd, "from", cobra.FixedCompletions(kindsOfSource, cobra.ShellCompDirectiveNoFileComp))
}

// flagsOfSource are the flags that not every kind of source accepts.
var flagsOfSource = map[string][]string{
	"": nil, fromEtcd: {"prune", "as-strings"}, fromConsul: {"prune", "as-strings"}, fromParameterStore: {"as-strings"}, fromGit: {"flatten", "ref", "prune"}, fromFiles: {"flatten", "prune"},
}

// accepts reports whether the kind of source accepts one of these flags.
func (o *importOptions) accepts(flag string) bool {
	return slices.Contains(flagsOfSource[o.from], flag)
}

// check refuses flags that the kind of source has no use for.
func (o *importOptions) check(flags *pflag.FlagSet) error {
	if _, ok := flagsOfSource[o.from]; !ok {
		return failure.Usagef("--from %s: use %s", o.from, strings.Join(kindsOfSource, ", "))
	}
	for _, name := range []string{"prefix", "into", "dry-run", "skip-unfit", "rename", "prune", "flatten", "ref", "as-strings"} {
		special := name == "prune" || name == "flatten" || name == "ref" || name == "as-strings"
		switch {
		case !flags.Changed(name):
		case o.from == "":
			return failure.Usagef("--%s is for --from", name)
		case special && !o.accepts(name):
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
	if err := p.read(ctx, cfg, o.dryRun); err != nil {
		return err
	}
	if documents, ok := source.(interface{ Skipped() document.Skipped }); ok {
		reportSkipped(documents.Skipped())
	}
	if root := mapping.Root(); p.taken == 0 && root != "" && !cfg.Prune {
		return failure.With(failure.NotFound, fmt.Errorf("no name in the source begins with %q", root))
	}
	if err := p.report(o); err != nil || o.dryRun {
		return err
	}
	cfg.Unfit, cfg.Kept, cfg.Noted = func(migrate.Unfit) {}, func(ledger.Tenant, ledger.Key) {}, nil
	lines := migrate.NewReader(ctx, cfg)
	defer lines.Close()
	c := &comparison{Session: s, options: o, lines: lines}
	return importLog(ctx, s, lines, -1, c, func(at *importer.LineError) error {
		fmt.Fprintln(output.Stderr, "everything before it is imported; run the import again to continue, nothing is written twice")
		return blame(at.Step, at)
	})
}

// allNames is the value of --as-strings without a prefix.
const allNames = "*"

// reportSkipped lists files that are not read, by the reason.
func reportSkipped(skipped document.Skipped) {
	if skipped.Count() == 0 {
		return
	}
	fmt.Fprintf(output.Stderr, "%s not read:\n", output.Count(skipped.Count(), "file"))
	list := func(class *document.Class, what string) {
		if class.Count == 0 {
			return
		}
		var names []string
		for _, name := range class.Examples {
			names = append(names, output.Plain(name))
		}
		if class.Count > len(names) {
			names = append(names, "...")
		}
		fmt.Fprintf(output.Stderr, "  %s: %s\n", what, strings.Join(names, ", "))
	}
	for _, extension := range slices.Sorted(maps.Keys(skipped.Formats)) {
		class := skipped.Formats[extension]
		list(class, fmt.Sprintf("%d %s", class.Count, cmp.Or(output.Plain(extension), "without an extension")))
	}
	list(&skipped.Links, fmt.Sprintf("%d not a regular file", skipped.Links.Count))
	list(&skipped.Templates, output.Count(skipped.Templates.Count, "Helm template")+" (not values: run helm template, and import its output)")
	if len(skipped.Formats) > 0 {
		fmt.Fprintf(output.Stderr, "formats that can be read: %s\n", strings.Join(document.Extensions(), ", "))
	}
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
			fmt.Fprintf(output.Stderr, "etcd has compacted its history up to revision %d: what was before is one commit\n", at)
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
	case fromFiles:
		s, err := files.Open(ctx, files.Config{Path: name, Root: root, Flatten: o.flatten})
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
			if e.Base == nil { // an inherited value is not the tenant's own to compare or to delete
				has[ledger.Key(e.Key)] = ledger.Value(e.Value)
				secret = secret || e.Secret
			}
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
