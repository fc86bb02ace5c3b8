package surecall

import (
	"testing"
	"unsafe"
)

// A call, its first attempt included, is one allocation of at most 512 bytes: above, the
// allocator keeps a header for each object, which costs every call.
func TestCallIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(unaryCall{}); size > 512 {
		t.Errorf("%d bytes: want at most 512", size)
	}
}
