// Package browsertest tests the console in a real browser: Debian's chromium, driven
// through playwright. scripts/test installs both. The .mjs files next to this one drive
// the browser.
package browsertest
