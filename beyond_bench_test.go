package surecall_test

import (
	"context"
	"testing"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

// BenchmarkBeyond is what Go and Notify add to a call whose reply is waited for. A
// notification counts until it is over; "drop" is one that finds no room.
func BenchmarkBeyond(b *testing.B) {
	cluster := surecalltest.NewCluster(b, 5)
	client := sure(b, cluster)
	full := sure(b, cluster, surecall.WithNotifications(surecall.NotifyPolicy{MaxBytes: 1}))
	stub, ctx, request := orders.NewOrdersClient(client), context.Background(), &orders.PlaceRequest{Item: "tea"}
	b.Run("call", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := stub.Place(ctx, request); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("go", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := surecall.Go(ctx, stub.Place, request).Wait(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("notify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := surecall.Notify(ctx, client, stub.Place, request); err != nil {
				b.Fatal(err)
			}
			if err := client.Flush(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("notify/drop", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := surecall.Notify(ctx, full, stub.Place, request); err == nil {
				b.Fatal("there was room")
			}
		}
	})
	b.Run("broadcast/5", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := surecall.Broadcast(ctx, client, stub.Place, request); err != nil {
				b.Fatal(err)
			}
		}
	})
}
