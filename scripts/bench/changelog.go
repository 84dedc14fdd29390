package main

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/stelehq/stele/scripts/bench/peer"
)

// changeLog is a real history, by tenant.
type changeLog struct {
	tenants []string // the largest first
	sets    map[string][]peer.ChangeSet
}

// readChangeLog reads a file in the format of docs/changelog-format.md.
func readChangeLog(path string) (*changeLog, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	l := &changeLog{sets: make(map[string][]peer.ChangeSet)}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var line struct {
			Time    time.Time `json:"time"`
			Author  string    `json:"author"`
			Message string    `json:"message"`
			Tenant  string    `json:"tenant"`
			Changes []struct {
				Key   string          `json:"key"`
				Value json.RawMessage `json:"value"`
			} `json:"changes"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		set := peer.ChangeSet{Time: line.Time, Author: line.Author, Message: line.Message}
		for _, ch := range line.Changes {
			set.Changes = append(set.Changes, peer.Entry{Key: ch.Key, Value: string(ch.Value)})
		}
		if l.sets[line.Tenant] == nil {
			l.tenants = append(l.tenants, line.Tenant)
		}
		l.sets[line.Tenant] = append(l.sets[line.Tenant], set)
	}
	slices.SortFunc(l.tenants, func(a, b string) int { return len(l.sets[b]) - len(l.sets[a]) })
	return l, lines.Err()
}

// copies repeats the history under other names until there are n change sets.
func (l *changeLog) copies(n int) pasts {
	var out pasts
	for i := 0; n > 0; i++ {
		t := l.tenants[i%len(l.tenants)]
		sets := l.sets[t][:min(n, len(l.sets[t]))]
		n -= len(sets)
		set := make(map[string]bool)
		for _, s := range sets {
			for _, ch := range s.Changes {
				set[ch.Key] = ch.Value != ""
			}
		}
		p := &tenantPast{name: fmt.Sprintf("%s-%d", t, i/len(l.tenants)), sets: sets}
		for key, live := range set {
			if live {
				p.live = append(p.live, key)
			}
		}
		slices.Sort(p.live)
		out = append(out, p)
	}
	return out
}

// busiest is the key that most change sets have changed.
func (t *tenantPast) busiest() (key string) {
	versions := make(map[string]int)
	for _, s := range t.sets {
		for _, ch := range s.Changes {
			if versions[ch.Key]++; versions[ch.Key] > versions[key] {
				key = ch.Key
			}
		}
	}
	return key
}
