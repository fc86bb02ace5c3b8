package gozero

import (
	"time"

	"github.com/zeromicro/go-zero/zrpc"

	"github.com/surecall/surecall"
)

// A surecall client is a zrpc.Client: what goctl generates takes it as it is.
var _ zrpc.Client = (*surecall.Client)(nil)

// After is in place of zrpc.MustNewClient.
func After() (*surecall.Client, error) {
	return surecall.NewClient("consul:///orders",
		surecall.WithInsecure(),
		surecall.WithCallDeadline(2*time.Second),
	)
}
