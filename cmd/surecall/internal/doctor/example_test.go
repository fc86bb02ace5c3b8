package doctor_test

import (
	"context"
	"fmt"
	"os"

	"github.com/surecall/surecall/cmd/surecall/internal/doctor"
)

func Example() {
	d, err := doctor.New(doctor.Options{Target: "static:///unix:%2Fnone%2Forders.sock"})
	if err != nil {
		fmt.Println(err)
		return
	}
	report := d.Run(context.Background(), func(s doctor.Step) {
		if s.Status != doctor.Skip {
			_, _ = s.WriteTo(os.Stdout)
		}
	})
	fmt.Println(report.Summary())
	// Output:
	// ok     target        service "static" of a list
	// ok     registration  1 address: unix:/none/orders.sock
	// FAULT  dial          the only instance: there is no such socket: unix:/none/orders.sock
	//        → remedy      start the server on this host: a unix socket cannot be reached from another
	// 1 fault
}
