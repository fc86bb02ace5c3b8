package plain

import (
	"os"

	"google.golang.org/grpc"
)

// Conn is what both clients are.
type Conn interface {
	grpc.ClientConnInterface
	Close() error
}

// Dial returns the new client, or the old one where ORDERS_CLIENT says so.
func Dial(oldTarget string) (Conn, error) {
	if os.Getenv("ORDERS_CLIENT") == "grpc" {
		return Before(oldTarget)
	}
	return After()
}
