package retry

import (
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Idempotency is whether a method may be executed twice with the effect of once, as
// its proto file says.
type Idempotency uint8

// The answers. Unknown must be taken for NotIdempotent.
const (
	Unknown       Idempotency = iota // the program does not link the method's descriptor
	NotIdempotent                    // the method does not say that it is idempotent
	Idempotent                       // idempotency_level is NO_SIDE_EFFECTS or IDEMPOTENT
)

var idempotencyNames = [...]string{"unknown", "not idempotent", "idempotent"}

// String returns the answer in words.
func (i Idempotency) String() string {
	if int(i) >= len(idempotencyNames) {
		return "invalid"
	}
	return idempotencyNames[i]
}

// LookupIdempotency reads the idempotency_level of a method, "/orders.v1.Orders/Get",
// from the descriptors that the program links. It searches each time: keep the answer.
func LookupIdempotency(fullMethod string) Idempotency {
	service, method, ok := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	if !ok {
		return Unknown
	}
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service + "." + method))
	if err != nil {
		return Unknown
	}
	descriptor, ok := found.(protoreflect.MethodDescriptor)
	if !ok {
		return Unknown
	}
	options, ok := descriptor.Options().(*descriptorpb.MethodOptions)
	if !ok {
		return Unknown
	}
	switch options.GetIdempotencyLevel() {
	case descriptorpb.MethodOptions_NO_SIDE_EFFECTS, descriptorpb.MethodOptions_IDEMPOTENT:
		return Idempotent
	default:
		return NotIdempotent
	}
}
