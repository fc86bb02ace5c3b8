// Package answers keeps what a service has answered, for the calls that may be served it
// later, and has one call ask for what several want at the same time.
//
// A [Store] is one client's, for all its methods together, so that one bound holds for all.
// It is cut into sixteen parts by the hash of the key, each with a sixteenth of the bytes
// and a lock of its own. In each, what was asked for longest ago goes first, and what is
// past its time goes when it is met.
//
// An answer carries when its call began: the state that it tells may be as old as that. One
// that comes late never replaces one whose call began after its own, and the mark of an
// answer that was taken back ([Answer.Gone]) is an answer in this sense.
package answers
