// Package table draws what clients hold of their services for a terminal: pure text from
// [status.Status], with no terminal in sight, so that it can be tested line by line.
//
// Of each service there is a title with how many instances are in which state, its source,
// its calls if there were any, and what is switched off; then its instances, those in
// trouble first; at the end the last bad calls and events of all services.
//
// [Render] fills at most Options.Height lines of at most Options.Width columns. What has no
// room is counted: "… and 480 more: 480 eligible". Lines go first to what tells most: the
// titles, instances in trouble, then all others.
//
// All text in a Status may come from a registry or from a server, and none of it reaches
// the terminal as it is. Control characters, escape sequences, marks that turn the
// direction of writing, scripts that do so by themselves, and what is not UTF-8 are shown
// as what they are: \x1b, \u202e. Wide characters count as two columns.
//
// A state is told by its symbol and its name; colour only repeats it.
package table
