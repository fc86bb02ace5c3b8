// Package gozero is the code of the guide from go-zero.
package gozero

import "github.com/zeromicro/go-zero/zrpc"

// Before is go-zero's client with its resolver, its balancer, its timeout and its breaker.
func Before(etcd []string) (zrpc.Client, error) {
	return zrpc.NewClient(zrpc.NewEtcdClientConf(etcd, "orders.rpc", "", ""))
}
