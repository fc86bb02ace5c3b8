// Package static is a source of instances that are written down: in the program, in a
// target, or in a file that may change while the program runs.
//
//	source, err := static.New(discovery.Instance{Address: "10.0.0.1:50051", Weight: 3})
//	source, err := static.File("/etc/orders.json")
//
// # Targets
//
//	static:///a:1,b:2                        two instances
//	static:///a:1;weight=3,b:2;zone=eu-1     with a weight and a zone
//	static:///[::1]:80,unix:/run/o.sock      any address an instance can have
//	static:///a:1,b:2?service=orders         the name for metrics and TLS; default "static"
//	static:///orders?file=/etc/fleet.json    the service orders of a file
//	static:///orders?file=fleet.json&tag=v2  its instances with the tag
//
// Attributes follow an address after semicolons. A comma, semicolon, question mark or
// percent sign inside an address is written as %2C, %3B, %3F or %25.
//
// # Files
//
// A file is JSON: an object from service to its instances, or a plain list, which is
// there for each service that is asked for. The fields are those of
// [discovery.Instance]; only address is required:
//
//	{"orders":   [{"address": "10.0.0.1:50051", "weight": 3, "zone": "eu-1"},
//	              {"address": "10.0.0.2:50051", "health": "maintenance"}],
//	 "payments": []}
//
// Each watch reads the file once a second and reports a changed set. Replace a file by
// renaming another over it: one that is read half written is broken until it is whole.
//
//	the file                      what a watch reports
//	lists the service             its instances
//	does not list the service     an empty set: known to be empty
//	is gone, unreadable, too      Err, once, and nothing else until it is mended: the last
//	large, or not the above       good set goes on serving. A new watch first gets that set.
//
// Instances with an unusable address and the like are skipped and reported as problems.
//
// # Numbers
//
//	what                  value
//	a file is read each   1 s
//	largest file          16 MiB
package static
