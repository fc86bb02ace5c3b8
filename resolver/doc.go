// Package resolver turns a [discovery.Source] into a gRPC resolver.
//
// It stands between what a registry says and what a client believes:
//
//   - It never blocks, and never fails to build: gRPC would not try again.
//   - What a source no longer knows is no reason to drop what works. While the source
//     fails, the last good set serves on; an error reaches callers only while there is
//     nothing to serve.
//   - A loss that is too large to be true is doubted (see [Loss]).
//   - A set that is the same as the last one is not handed on.
//
// Weight, zone and the like travel in the endpoint's attributes: a change of them
// reaches the picker without a reconnect.
//
// # Datacenters
//
// A query with Failover is watched in each of its datacenters apart: what one says, or
// that it says nothing, changes nobody's set but its own. All sets together are handed
// on, each instance with the place of its datacenter as its priority. An ID that an
// earlier datacenter has too becomes ID@datacenter; an instance that two datacenters list
// under the same address is one.
//
// # Snapshots on disk
//
// With [Snapshots], each set that the source vouches for is saved, in a file for each
// source, query and datacenter. A process that starts while its source is down, or does
// not answer, serves from there:
//
//	the source at the start                   what serves
//	vouches for an answer                     the answer
//	has no answer, or none within 250 ms      the file
//	doubts its answer                         the answer, and who else is in the file
//	vouches for a later answer                the answer; the file's are gone, but for an
//	                                          empty answer, which is a loss as any other
//
//	what                                      value
//	used up to an age of                      24 h
//	written                                   2 to 4 s after a change, and on Close
//	written anew, if nothing changes          each 3 h (an eighth of the age)
//	size at most                              16 MiB
//	mode                                      0600, the folder 0700
//
// A file never fails a client: one that cannot be read, used or written is an
// event.SnapshotProblem. It contains what the source said of the instances, labels
// included, and no token. Whoever can write to the folder decides where calls go: a file
// that others may write is not read.
package resolver
