package scrub

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestPass_KeepsTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pass{paced: time.Now()}
		begun := time.Now()
		for range 1000 {
			if err := p.pace(t.Context(), rate/100); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begun); took < 9*time.Second || took > 11*time.Second {
			t.Errorf("10 s of reading took %s", took)
		}
	})
}
