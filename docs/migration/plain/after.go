package plain

import (
	"time"

	"github.com/surecall/surecall"
)

// After finds the service in Consul.
func After() (*surecall.Client, error) {
	return surecall.NewClient("consul:///orders",
		surecall.WithInsecure(),
		surecall.WithCallDeadline(2*time.Second),
	)
}
