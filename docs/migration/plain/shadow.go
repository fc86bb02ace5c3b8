package plain

import "github.com/surecall/surecall"

// OnTrial behaves like plain gRPC with round_robin, and counts what it would have done.
func OnTrial() (*surecall.Client, error) {
	return surecall.NewClient("consul:///orders", surecall.WithInsecure(), surecall.WithShadow())
}
