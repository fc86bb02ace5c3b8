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
package resolver
