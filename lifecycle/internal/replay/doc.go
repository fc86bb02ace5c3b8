// Package replay keeps requests that a server was sent, and sends them to another
// one: the format, the [Reader] and [Writer] of it, the [Sampler] that chooses what is
// kept, and the [Player].
//
// # The format
//
// A recording is a stream of bytes that can be read from its beginning to its end by
// anything that reads: a file, the body of an HTTP response, an object in a store.
// Numbers are big-endian.
//
//	stream  = header record* end
//	header  = "surecall-replay/1\n"
//	record  = size(4)  checksum(4)  body            size, not 0: of body, in bytes
//	body    = length(2)  method  message            length: of method, in bytes
//	end     = 0(4)  count(4)                        count: the records before it
//
// The checksum is CRC-32C of the body. The method is a gRPC full method,
// "/orders.v1.Orders/Get"; the message is the request as it is on the wire, not
// compressed, which needs no type to be read or sent.
//
// A method has at most 1,024 bytes and a message at most 4 MiB, which is the most that a
// gRPC server takes unless told otherwise; a stream that claims more is damaged. A
// reader never holds more than it has read of one record, and never trusts a size. A
// stream without its end was cut off, and one that fails a check is damaged: what comes
// before is good, and is used. What follows the end is not read.
//
// Another version has another header, so that a reader of this one says what it got.
package replay
