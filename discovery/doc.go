// Package discovery is the vocabulary of where instances come from: what an
// [Instance] is, how a [Source] reports the set of them, and how a server puts
// itself into that set through a [Registrar].
//
// # Three answers
//
// A source that looks for a service can end in three ways, and they must never
// be confused, because two of them look like an empty list:
//
//	answer    Snapshot                      what a consumer does
//	known     Err == nil, Doubt == nil      believes it, empty or not
//	doubted   Doubt != nil                  adds what is new, removes nothing
//	failed    Err != nil                    keeps what it had
//
// The package imports the standard library only. Implementations are in
// discovery/consul, discovery/memory and discovery/static; any other type with
// the method Watch is a source too, and discovery/discoverytest holds the suite
// it has to pass.
package discovery
