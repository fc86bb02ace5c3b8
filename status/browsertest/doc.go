// Package browsertest opens the status page in a real Chromium. It has tests only, and is a
// module of its own so that nobody else downloads what drives the browser.
package browsertest
