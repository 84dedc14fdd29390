package keys

import (
	"context"
	"net/http"

	"github.com/stelehq/stele/internal/gateway/console/form"
	"github.com/stelehq/stele/internal/gateway/console/format"
	"github.com/stelehq/stele/internal/gateway/console/history"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// commitsOfKey is how many of a key's newest commits its page shows.
const commitsOfKey = 10

// versionsMarked is how many of a key's newest versions are marked on the time axis.
const versionsMarked = 200

// keyView is a key at a revision.
type keyView struct {
	key     string
	commit  []byte         // the id of the commit that last set the key
	entry   *stelev1.Entry // nil when it is not set
	history []*stelev1.CommitInfo
	older   bool // the history has more
	sinks   []sinkOfKey
	schemas []*stelev1.Schema
	layers  []*stelev1.ValueLayer // of the tenant and its bases; without bases only the tenant's
	form    writeForm
	// editing: the page has the form in the place of the value.
	editing bool
	// revealed: the value is a secret itself.
	revealed bool
	written  string // the revision that the user has just written
}

// last is the commit that last touched the key; nil when none is known.
func (k *keyView) last() *stelev1.CommitInfo {
	if len(k.history) == 0 {
		return nil
	}
	return k.history[0]
}

// earlier is the revision of the version before the one that is shown; 0 without one.
func (k *keyView) earlier() uint64 {
	if len(k.history) < 2 {
		return 0
	}
	return k.history[1].Commit.Revision
}

// inherited reports whether the value is not the tenant's own.
func (k *keyView) inherited() bool { return k.entry.GetBase() != nil }

// inForce is the layer of the value; nil when the key is not set.
func (k *keyView) inForce() *stelev1.ValueLayer {
	for _, l := range k.layers {
		if l.InForce {
			return l
		}
	}
	return nil
}

// hidden is the value of a base that the tenant's own value hides, and that is in force when
// the own one is deleted; nil for none.
func (k *keyView) hidden() *stelev1.ValueLayer {
	if k.entry == nil || k.inherited() {
		return nil
	}
	for _, l := range k.layers {
		if l.Revision != 0 && !l.InForce {
			return l
		}
	}
	return nil
}

// deleteLabel is the label of the button that deletes the tenant's own value.
func (k *keyView) deleteLabel() string {
	if base := k.hidden(); base != nil {
		return "Reset to " + format.Possessive(base.Tenant) + " value"
	}
	return "Delete"
}

// changed is the revision that last set or deleted the key; 0 for not known.
func (k *keyView) changed() uint64 { return k.last().GetCommit().GetRevision() }

// revision is that which last set the key; 0 when it is not set.
func (k *keyView) revision() uint64 { return k.entry.GetRevision() }

// showKey shows a key: its value, author, history and sinks.
func showKey(v *page.View) error {
	if _, err := ledger.ParseKey(v.Rest); err != nil {
		return page.ErrNotFound
	}
	if v.R.FormValue("part") == "sinks" {
		return v.Render(http.StatusOK, keySinks(v, v.Rest, uint64(max(v.QueryInt("changed"), 0)), sinksOf(v.Ctx, v, v.Rest)))
	}
	if v.At != 0 && v.R.FormValue("step") == "later" {
		return goToLater(v)
	}
	k := &keyView{key: v.Rest, written: v.R.FormValue("written")}
	if err := v.Load(readKey(v, k, false)); err != nil {
		return err
	}
	k.form = k.newForm()
	k.editing = v.At == 0 && k.entry != nil && v.R.FormValue("edit") != "" && v.May("write", k.key)
	return showKeyView(v, http.StatusOK, k)
}

// goToLater redirects to the key's next version after the state of the view, or to the
// newest state if there is none.
func goToLater(v *page.View) error {
	head, err := v.Ledger.GetHead(v.Ctx, &stelev1.GetHeadRequest{})
	if err != nil {
		return err
	}
	// Commits are listed newest first, so the ranges grow until one has a version.
	from, width, last := uint64(v.At)+1, uint64(500), head.Snapshot.GetHead()
	for from <= last {
		later, err := oldestVersion(v, from, min(from+width-1, last))
		if err != nil {
			return err
		}
		if later != 0 {
			return v.Redirect(v.Then(ledger.Revision(later)))
		}
		from, width = from+width, 2*width
	}
	return v.Redirect(v.Then(0))
}

// oldestVersion is the first commit of a range that has changed the key; 0 if no commit has.
func oldestVersion(v *page.View, since, until uint64) (oldest uint64, err error) {
	req := &stelev1.ListCommitsRequest{
		Keys:  &stelev1.ListCommitsRequest_Key{Key: v.Rest},
		Since: page.Revision(since), Until: page.Revision(until), OmitValues: true, OnlyMatchingChanges: true, PageSize: 1000,
	}
	for {
		list, err := v.Ledger.ListCommits(v.Ctx, req)
		if err != nil {
			return 0, err
		}
		if n := len(list.Commits); n > 0 {
			oldest = list.Commits[n-1].Commit.Revision
		}
		if req.PageToken = list.NextPageToken; req.PageToken == "" {
			return oldest, nil
		}
	}
}

// Reveal shows the key with its secret. That is recorded, so it requires a POST.
func Reveal(v *page.View) error {
	if _, err := ledger.ParseKey(v.Rest); err != nil {
		return page.ErrNotFound
	}
	v.Confidential = true
	k := &keyView{key: v.Rest, revealed: true}
	if err := v.Load(readKey(v, k, true)); err != nil {
		return err // of the page "reveal": its permission is another than that of "keys"
	}
	v.Page = "keys" // whose page it is
	k.form = k.newForm()
	return showKeyView(v, http.StatusOK, k)
}

func showKeyView(v *page.View, code int, k *keyView) error {
	k.form.schemas = k.schemas
	words := []string{"get", k.key}
	if k.revealed {
		words = append(words, "--reveal")
	}
	command := v.ReadCommand(words...)
	if k.entry == nil && len(k.history) == 0 {
		command = history.Filters{Key: k.key}.Command(v)
	}
	if k.entry == nil && code == http.StatusOK {
		code = http.StatusNotFound
	}
	return v.Show(code, k.key, command, keyPage(v, k))
}

// readKey makes the calls for a key's page.
func readKey(v *page.View, k *keyView, reveal bool) func(context.Context) error {
	return func(ctx context.Context) error {
		return page.Together(ctx, readEntry(v, k, reveal), readLayers(v, k), func(ctx context.Context) error {
			list, err := v.Ledger.ListCommits(ctx, &stelev1.ListCommitsRequest{
				Keys: &stelev1.ListCommitsRequest_Key{Key: k.key}, Until: v.AsOf(),
				OnlyMatchingChanges: true, PreviousValues: true, PageSize: commitsOfKey,
			})
			k.history, k.older = list.GetCommits(), list.GetNextPageToken() != ""
			return err
		}, func(ctx context.Context) error {
			list, err := v.Ledger.ListCommits(ctx, &stelev1.ListCommitsRequest{
				Keys: &stelev1.ListCommitsRequest_Key{Key: k.key}, OnlyMatchingChanges: true, OmitValues: true, PageSize: versionsMarked,
			})
			for _, info := range list.GetCommits() {
				v.Marks = append(v.Marks, page.Mark{Revision: info.Commit.Revision, Time: info.Commit.Time})
			}
			return err
		}, func(ctx context.Context) error {
			if v.At == 0 { // sinks have no past states
				k.sinks = sinksOf(ctx, v, k.key)
			}
			return nil
		}, func(ctx context.Context) error {
			if v.At == 0 { // the API returns only the current ones
				explained, _ := v.Schemas.ExplainKey(ctx, &stelev1.ExplainKeyRequest{Key: k.key}) // the page is still correct without it
				k.schemas = explained.GetSchemas()
			}
			return nil
		})
	}
}

// readEntry reads the key itself, if it is set.
func readEntry(v *page.View, k *keyView, reveal bool) func(context.Context) error {
	return func(ctx context.Context) error {
		got, err := v.Config.Get(ctx, &stelev1.GetRequest{Key: k.key, At: v.AsOf(), Reveal: reveal})
		k.entry, k.commit = got.GetEntry(), got.GetCommitId()
		return unlessNotFound(err)
	}
}

// readLayers reads what the tenant and its bases have for the key.
func readLayers(v *page.View, k *keyView) func(context.Context) error {
	return func(ctx context.Context) error {
		if !ledger.Key(k.key).Inheritable() {
			return nil
		}
		explained, err := v.Bases.ExplainValue(ctx, &stelev1.ExplainValueRequest{Key: k.key, At: v.AsOf()})
		k.layers = explained.GetLayers()
		return err
	}
}

func (k *keyView) newForm() writeForm {
	return writeForm{Write: form.Write{Key: k.key, Value: formValue(k.entry.GetValue()), Expected: k.revision(), Commit: k.commit, Name: form.NewName()}}
}

// formValue is a value to edit.
func formValue(value string) string {
	if value == "" || format.IsMask(value) {
		return ""
	}
	return format.Pretty(value)
}

// longValue is how much of a value its page shows, in bytes.
const longValue = 16 << 10

// beginOf is a value on its own page, or the beginning of a long one with a note.
func beginOf(value string) (text, note string) {
	text, cut := format.Begin(format.Pretty(value), longValue)
	if cut {
		note = "This is the beginning of " + format.Size(len(value)) + ": download the value to see all of it."
	}
	return text, note
}
