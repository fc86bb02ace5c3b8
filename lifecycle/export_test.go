package lifecycle

import (
	"context"
	"os"

	"google.golang.org/grpc"
)

// RunWith is Run with signals from a channel, since those of the process do not come
// into a bubble.
func (l *Life) RunWith(ctx context.Context, srv *grpc.Server, signals <-chan os.Signal) error {
	return l.run(ctx, srv, signals, func() {})
}

// Unary is the interceptor of unary calls.
func (l *Life) Unary() grpc.UnaryServerInterceptor { return l.unary }
