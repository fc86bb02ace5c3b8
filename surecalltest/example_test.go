package surecalltest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

// This file is what a test of one's own looks like. warehouse is the service, which the
// test plays; shop is the code that is tested.

type warehouse struct {
	orders.UnimplementedOrdersServer
	name string
}

func (w warehouse) Get(_ context.Context, r *orders.GetRequest) (*orders.Order, error) {
	return &orders.Order{Id: r.GetId(), Item: "tea", ServedBy: w.name}, nil
}

type shop struct{ warehouse orders.OrdersClient }

func (s shop) describe(ctx context.Context, id string) (string, error) {
	order, err := s.warehouse.Get(ctx, &orders.GetRequest{Id: id})
	if err != nil {
		return "", fmt.Errorf("order %s: %w", id, err)
	}
	return fmt.Sprintf("order %s: %s", id, order.GetItem()), nil
}

// Whatever happens to one of three warehouses, or to the registry, the shop goes on. It
// takes milliseconds, whatever its clock says.
func TestShop(t *testing.T) {
	for name, happens := range map[string]func(*surecalltest.Cluster){
		"kill":        func(c *surecalltest.Cluster) { c.Instance(0).Kill() },
		"hang":        func(c *surecalltest.Cluster) { c.Instance(0).Hang() },
		"black hole":  func(c *surecalltest.Cluster) { c.Instance(0).BlackHole() },
		"slow":        func(c *surecalltest.Cluster) { c.Instance(0).DelaySome(0.5, 2*time.Second) },
		"error rate":  func(c *surecalltest.Cluster) { c.Instance(0).FailSome(0.5, codes.Unavailable) },
		"lost answer": func(c *surecalltest.Cluster) { c.Instance(0).LoseAnswers(0.2) },
		"overload": func(c *surecalltest.Cluster) {
			c.Instance(0).Capacity(surecalltest.Capacity{Workers: 1, ServiceTime: 150 * time.Millisecond})
		},
		"join":        func(c *surecalltest.Cluster) { c.Add() },
		"leave":       func(c *surecalltest.Cluster) { c.Instance(0).Leave() },
		"empty list":  func(c *surecalltest.Cluster) { c.EmptyList() },
		"source down": func(c *surecalltest.Cluster) { c.SourceDown(errors.New("no leader")) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cluster := surecalltest.NewClusterOf(t, 3, func(s grpc.ServiceRegistrar, i *surecalltest.Instance) {
					orders.RegisterOrdersServer(s, warehouse{name: i.ID()})
				})
				s := shop{orders.NewOrdersClient(cluster.Client())}
				const calls = 100
				for n := range calls {
					if n == 20 {
						happens(cluster)
					}
					began := time.Now()
					said, err := s.describe(t.Context(), "7")
					if took := time.Since(began); err != nil || said != "order 7: tea" || took > time.Second {
						t.Errorf("call %d: %q, %v after %v", n, said, err, took)
					}
					time.Sleep(50 * time.Millisecond)
				}
				if reached := cluster.Calls(); reached > 1.3*calls {
					t.Errorf("%d calls became %d attempts", calls, reached)
				}
			})
		})
	}
}

// One of three instances hangs, and nobody notices.
func TestNobodyNoticesAHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := orders.NewOrdersClient(cluster.Client())
		cluster.Instance(0).Hang()
		for range 100 {
			began := time.Now()
			if _, err := client.Get(t.Context(), &orders.GetRequest{}); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > 300*time.Millisecond {
				t.Errorf("a call took %v", took)
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
}
