// Package surecalltest runs a service of several instances inside a test: real gRPC
// servers on in-memory connections, a registry in memory, and faults that are switched
// on and off. It works inside a testing/synctest bubble, where hours of deadlines and
// back-off take milliseconds:
//
//	synctest.Test(t, func(t *testing.T) {
//		cluster := surecalltest.NewCluster(t, 3)
//		client := cluster.Client()
//		cluster.Instance(0).Hang()
//		_, err := orders.NewOrdersClient(client).Get(t.Context(), &orders.GetRequest{})
//		// err is nil: another instance answered
//	})
package surecalltest
