package lifecycle

import (
	"context"
	"os"

	"google.golang.org/grpc"
)

// RunWith is Run with signals from a channel, since those of the process do not come
// into a bubble. unhook is called when another signal is to end the process.
func (l *Life) RunWith(ctx context.Context, srv *grpc.Server, signals <-chan os.Signal, unhook func()) error {
	return l.run(ctx, srv, signals, unhook)
}

// Unary is the interceptor of unary calls.
func (l *Life) Unary() grpc.UnaryServerInterceptor { return l.unary }
