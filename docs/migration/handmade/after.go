package handmade

import (
	"time"

	"github.com/surecall/surecall"
)

// After has the numbers of before where they were chosen; what is left out is the default.
func After(target string) (*surecall.Client, error) {
	return surecall.NewClient(target,
		surecall.WithInsecure(),
		surecall.WithCallDeadline(2*time.Second),
		surecall.WithIdempotent("/orders.v1.Orders/Get"), // if its proto file does not say so
	)
}
