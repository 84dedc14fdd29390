package format

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// Duration is a duration in its largest unit.
func Duration(d time.Duration) string {
	day := 24 * time.Hour
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{365 * day, "year"}, {30 * day, "month"}, {day, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if n := d / u.unit; n == 1 {
			return "1 " + u.name
		} else if n > 1 {
			return fmt.Sprintf("%d %ss", n, u.name)
		}
	}
	return fmt.Sprintf("%d s", max(d, 0)/time.Second)
}

// Ago is a time relative to now.
func Ago(d time.Duration) string {
	if d < 2*time.Second {
		return "just now"
	}
	return Duration(d) + " ago"
}

// Time is a time in UTC, to the second.
func Time(t *timestamppb.Timestamp) string {
	return t.AsTime().UTC().Format("2006-01-02 15:04:05 UTC")
}
