package surecalltest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

// A test of one's own: one of three instances hangs, and nobody notices. It takes a
// few milliseconds, whatever its clock says.
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
