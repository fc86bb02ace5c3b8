package gozero

import (
	"time"

	"github.com/zeromicro/go-zero/zrpc"

	"github.com/surecall/surecall"
)

// Dial is go-zero's client, with its traces, logs and metrics, over surecall's connection.
func Dial(target string) (zrpc.Client, error) {
	dial, err := surecall.DialOptions(target,
		surecall.WithInsecure(),
		surecall.WithCallDeadline(2*time.Second),
	)
	if err != nil {
		return nil, err
	}
	var options []zrpc.ClientOption
	for _, o := range dial { // takes the place of p2c_ewma
		options = append(options, zrpc.WithDialOption(o))
	}
	return zrpc.NewClient(zrpc.RpcClientConf{
		Target:   target,
		NonBlock: true,
		Middlewares: zrpc.ClientMiddlewaresConf{
			Trace: true, Duration: true, Prometheus: true,
			Breaker: false, // one for each method: a bad instance condemns the good ones
			Timeout: false, // the call deadline is surecall's
		},
	}, options...)
}
