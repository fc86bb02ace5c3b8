// Package limit bounds how many calls are under way and how many are begun.
package limit
