package history

import (
	"context"
	"net/url"

	"github.com/stelehq/stele/internal/gateway/console/page"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Filters select commits, as the form of the history has them.
type Filters struct {
	Prefix, Key, Author, Text, Since, Until string
}

func parseFilters(v *page.View) Filters {
	return Filters{v.Query("prefix"), v.Query("key"), v.Query("author"), v.Query("text"), v.Query("since"), v.Query("until")}
}

func (f Filters) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{"prefix": f.Prefix, "key": f.Key, "author": f.Author, "text": f.Text, "since": f.Since, "until": f.Until} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

// request selects commits as the filters say, up to the state of the view.
func (f Filters) request(ctx context.Context, v *page.View) (*stelev1.ListCommitsRequest, error) {
	req := &stelev1.ListCommitsRequest{PageSize: commitsOnPage, OmitValues: true, Author: f.Author, Grep: f.Text, Until: v.AsOf(), PageToken: v.R.FormValue("page")}
	switch {
	case f.Key != "":
		req.Keys = &stelev1.ListCommitsRequest_Key{Key: f.Key}
	case f.Prefix != "":
		req.Keys = &stelev1.ListCommitsRequest_Prefix{Prefix: f.Prefix}
	}
	var err error
	if req.Since, err = v.ParseAsOf(ctx, "since", f.Since); err != nil {
		return nil, err
	}
	if until, err := v.ParseAsOf(ctx, "until", f.Until); err != nil {
		return nil, err
	} else if until != nil {
		req.Until = until
	}
	return req, nil
}

// Command is the equivalent on the command line.
func (f Filters) Command(v *page.View) page.Command {
	c := v.Command("log", f.Key)
	if f.Key == "" {
		c = v.Command("log", f.Prefix)
	}
	until := f.Until
	if until == "" && v.At != 0 {
		until = v.At.String()
	}
	for _, flag := range []struct{ name, value string }{{"--author", f.Author}, {"--grep", f.Text}, {"--since", f.Since}, {"--until", until}} {
		if flag.value != "" {
			c = append(c, flag.name, flag.value)
		}
	}
	return c
}
