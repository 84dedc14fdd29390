package console

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// commitsOfKey is how many of a key's newest commits its page shows.
const commitsOfKey = 10

// keyView is a key at a moment.
type keyView struct {
	key     string
	commit  []byte         // the id of the commit that last set the key
	entry   *stelev1.Entry // nil when it is not set
	history []*stelev1.CommitInfo
	older   bool // the history has more
	sinks   []sinkOfKey
	schemas []*stelev1.Schema
	form    writeForm
	// editing: the page has the form in the place of the value.
	editing bool
	// revealed: the value is a secret itself.
	revealed bool
	written  string // the revision that the visitor has just written
}

// last is the commit that last touched the key; nil when none is known.
func (k *keyView) last() *stelev1.CommitInfo {
	if len(k.history) == 0 {
		return nil
	}
	return k.history[0]
}

// revision is that which last set the key; 0 when it is not set.
func (k *keyView) revision() uint64 { return k.entry.GetRevision() }

// sinkOfKey is how far a sink is with a key.
type sinkOfKey struct {
	*stelev1.SinkStatus
	parked *stelev1.Parked // nil when it is not
}

// holds says whether the sink has everything up to a revision.
func (s sinkOfKey) holds(revision uint64) bool { return s.Position >= revision }

// showKey shows a key: its value, author, history and sinks.
func (c *Console) showKey(v *visit) error {
	if _, err := ledger.ParseKey(v.rest); err != nil {
		return errNoPlace
	}
	k := &keyView{key: v.rest, written: v.r.FormValue("written")}
	if err := v.load(c.readKey(v, k, false)); err != nil {
		return err
	}
	k.form = k.newForm()
	k.editing = v.at == 0 && k.entry != nil && v.r.FormValue("edit") != "" && v.may("write", k.key)
	return v.showKeyView(http.StatusOK, k)
}

// reveal shows the key with its secret. That is recorded, so it takes a POST.
func (c *Console) reveal(v *visit) error {
	if _, err := ledger.ParseKey(v.rest); err != nil {
		return errNoPlace
	}
	v.page = "keys" // whose page it is
	k := &keyView{key: v.rest, revealed: true}
	if err := v.load(c.readKey(v, k, true)); err != nil {
		return err
	}
	k.form = k.newForm()
	return v.showKeyView(http.StatusOK, k)
}

func (v *visit) showKeyView(code int, k *keyView) error {
	words := []string{"get", k.key}
	if k.revealed {
		words = append(words, "--reveal")
	}
	command := v.command(words...)
	if k.entry == nil && len(k.history) == 0 {
		command = filters{key: k.key}.command(v)
	}
	if k.entry == nil && code == http.StatusOK {
		code = http.StatusNotFound
	}
	return v.show(code, k.key, command, keyPage(v, k))
}

// readKey makes the calls that a key's page is of.
func (c *Console) readKey(v *visit, k *keyView, reveal bool) func(context.Context) error {
	return func(ctx context.Context) error {
		return together(ctx, func(ctx context.Context) error {
			got, err := c.config.Get(ctx, &stelev1.GetRequest{Key: k.key, At: v.moment(), Reveal: reveal})
			if status.Code(err) == codes.NotFound {
				return nil
			}
			k.entry, k.commit = got.GetEntry(), got.GetCommitId()
			return err
		}, func(ctx context.Context) error {
			list, err := c.ledger.ListCommits(ctx, &stelev1.ListCommitsRequest{
				Keys: &stelev1.ListCommitsRequest_Key{Key: k.key}, Until: v.moment(),
				OnlyMatchingChanges: true, PreviousValues: true, PageSize: commitsOfKey,
			})
			k.history, k.older = list.GetCommits(), list.GetNextPageToken() != ""
			return err
		}, func(ctx context.Context) error {
			if v.at == 0 { // how far they are is about now
				k.sinks = c.sinksOf(ctx, k.key)
			}
			return nil
		}, func(ctx context.Context) error {
			if v.at == 0 { // the API returns only the current ones
				explained, _ := c.schemas.ExplainKey(ctx, &stelev1.ExplainKeyRequest{Key: k.key}) // the page is still correct without it
				k.schemas = explained.GetSchemas()
			}
			return nil
		})
	}
}

// mostParked is how many sinks are asked whether they have parked a key.
const mostParked = 3

// sinksOf returns the progress of the sinks: those in the key's route, or all of them
// if the user may not see the routes. A page is still correct without them, so an error
// leaves them out.
func (c *Console) sinksOf(ctx context.Context, key string) []sinkOfKey {
	var list *stelev1.ListSinksResponse
	var routed *stelev1.GetRoutesResponse
	err := together(ctx, func(ctx context.Context) (err error) {
		list, err = c.sinks.ListSinks(ctx, &stelev1.ListSinksRequest{})
		return err
	}, func(ctx context.Context) error {
		routed, _ = c.sinks.GetRoutes(ctx, &stelev1.GetRoutesRequest{}) // for operators
		return nil
	})
	if err != nil {
		return nil
	}
	names, known := sinksIn(routed.GetRoutes(), key)
	list.Sinks = slices.DeleteFunc(list.Sinks, func(s *stelev1.SinkStatus) bool { return known && !slices.Contains(names, s.Name) })
	out := make([]sinkOfKey, len(list.Sinks))
	var group errgroup.Group
	asked := 0
	for i, s := range list.Sinks {
		out[i].SinkStatus = s
		if s.Parked == 0 || asked == mostParked {
			continue
		}
		asked++
		group.Go(func() error {
			parked, err := c.sinks.ListParked(ctx, &stelev1.ListParkedRequest{Sink: s.Name})
			if err != nil {
				return nil
			}
			for _, p := range parked.Parked {
				if p.Key == key {
					out[i].parked = p
				}
			}
			return nil
		})
	}
	group.Wait()
	return out
}

// sinksIn are the sinks that a document of routes names for a key, in the route with
// the longest prefix. False if no document was found.
func sinksIn(document, key string) (names []string, known bool) {
	var d struct {
		Routes []struct {
			Prefix string   `json:"prefix"`
			Sinks  []string `json:"sinks"`
		} `json:"routes"`
	}
	if document == "" || json.Unmarshal([]byte(document), &d) != nil {
		return nil, false
	}
	longest := -1
	for _, r := range d.Routes {
		if strings.HasPrefix(key, r.Prefix) && len(r.Prefix) > longest {
			names, longest = r.Sinks, len(r.Prefix)
		}
	}
	return names, true
}

// writeForm is the content of a form that writes a key, and its errors.
type writeForm struct {
	key, value, message string
	// expected is the revision that the key must still have; 0: it must not be set.
	expected uint64
	// commit is the id of the commit expected.
	commit []byte
	// name is the form's own, so that sending it twice writes once.
	name string

	keyProblem, valueProblem, messageProblem, problem string
	conflict                                          *conflict
}

// conflict is another user's change while a form was filled in.
type conflict struct {
	theirs   *stelev1.Entry // nil: they have deleted it
	commit   *stelev1.CommitInfo
	between  keyChange // from what the form began with to theirs
	mine     keyChange // from theirs to what the form holds
	identity bool      // theirs is what the form holds
}

func (k *keyView) newForm() writeForm {
	return writeForm{key: k.key, value: formValue(k.entry.GetValue()), expected: k.revision(), commit: k.commit, name: uuid.NewString()}
}

// formValue is a value to edit.
func formValue(value string) string {
	if value == "" || isMask(value) {
		return ""
	}
	return pretty(value)
}

// wholeValue is a value on its own page: as much of it as that has room for.
func wholeValue(value string) string {
	s, cut := begin(pretty(value), longValue)
	if cut {
		s += "\n…\n" + sizeOf(len(value)) + " in all: download it for the rest"
	}
	return s
}

func revisionOf(n uint64) string { return strconv.FormatUint(n, 10) }
