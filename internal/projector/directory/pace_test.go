package directory

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestPace_TenantRests(t *testing.T) {
	for _, tc := range []struct {
		name               string
		took, since, limit time.Duration // limit: of the context, 0 for none
		want               time.Duration
	}{
		{"never written", 0, 0, 0, 0},
		{"just written", 100 * time.Millisecond, 0, 0, 900 * time.Millisecond},
		{"written a while ago", 100 * time.Millisecond, 600 * time.Millisecond, 0, 300 * time.Millisecond},
		{"rested", 100 * time.Millisecond, time.Minute, 0, 0},
		{"time enough", time.Second, 0, time.Minute, 9 * time.Second},
		{"a write needs the rest of the time", time.Second, 0, 5 * time.Second, 3 * time.Second},
		{"too little time for a write", time.Second, 0, time.Second, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var p pace
				if tc.took > 0 {
					p.worked(tc.took)
				}
				time.Sleep(tc.since)
				ctx := t.Context()
				if tc.limit > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tc.limit)
					defer cancel()
				}
				begun := time.Now()
				if err := p.wait(ctx); err != nil {
					t.Fatal(err)
				}
				if waited := time.Since(begun); waited != tc.want {
					t.Errorf("it waits %v, not %v", waited, tc.want)
				}
			})
		})
	}
}

func TestPace_RestEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace
		p.worked(time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if err := p.wait(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("the rest ends with %v", err)
		}
	})
}
