// Package disk keeps snapshots in files, so that a process can start while its source is
// down.
//
// There is one file for each origin and query, named for both:
//
//	orders-1f0c….snapshot
//
//	surecall snapshot 1 3120 9f86d0…      format, length and SHA-256 of what follows
//	{"written":"…","of":{…},"instances":[…]}
//
// The second line is JSON, for people to read and for nothing else: who edits it breaks
// the checksum. A file is written under another name, synced and renamed, so that a
// reader, also one in another process, sees a whole file or none. Files are 0600 in a
// folder of 0700, since they say where services run; one that others could have written
// or that is not a plain file is not read.
//
// Nothing in a file is trusted for being there: one that is cut off, changed, of another
// version or query, too large or too old is an error that says which.
package disk
