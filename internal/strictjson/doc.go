// Package strictjson reads and writes configuration as JSON, for structs that were made for
// code. What it reads may have been written by anyone: it is bounded, and nothing that could
// be a mistake is passed over.
//
// # How a struct is written
//
//	Go                              JSON
//	field MaxAttempts               key "max_attempts"
//	field with a tag json:"$schema" key "$schema"
//	embedded struct                 its keys, among those around it
//	field of a function             left out
//	zero field, nil pointer         left out: the default
//	pointer                         what it points to
//	struct{ Off bool; Value *T }    false if Off, else the value
//	map[string]T                    object
//	type with a [Codec]             string
//
// # What is refused
//
//	text            larger than [MaxSize], not UTF-8, or more than one value
//	nesting         deeper than [MaxDepth]
//	key             unknown, or given twice in one object
//	null            a key is left out instead
//	number          less than 0 or larger than [MaxNumber]; a fraction where none can be
//
// All mistakes are reported together, up to ten of them, each with the path of the value
// and its line:
//
//	methods."/orders.v1.Orders/Get".hedge.dleay: line 12: unknown key: did you mean "delay"?
package strictjson
