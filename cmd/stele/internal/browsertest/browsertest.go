// Package browsertest tests the console in a real browser: Debian's chromium, driven
// through playwright. scripts/test installs both. What the browser does is in the .mjs
// files beside this one.
package browsertest
