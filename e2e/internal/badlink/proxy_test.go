package badlink

import (
	"io"
	"net"
	"testing"
	"time"
)

// A link that is not as bad as it says would prove nothing.
func TestProxy(t *testing.T) {
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	p, err := New(echo.Addr().String(), 7)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if took, err := roundTrip(p.Addr); err != nil || took > stallMin {
		t.Errorf("good link: %v, %v: want an echo below %v", took, err, stallMin)
	}
	p.SetBad(true)
	type result struct {
		took time.Duration
		err  error
	}
	const trips = 60
	results := make(chan result, trips)
	for range trips {
		go func() {
			took, err := roundTrip(p.Addr)
			results <- result{took, err}
		}()
	}
	broken := 0
	for range trips {
		r := <-results
		if r.err != nil {
			broken++
		} else if r.took < 2*stallMin {
			t.Errorf("bad link: an echo after %v: want a stall each way", r.took)
		}
	}
	stats := p.Stats()
	t.Logf("%d of %d broken, %+v", broken, trips, stats)
	if broken == 0 || broken > trips/2 || stats.Stalls < trips {
		t.Errorf("%d of %d connections broken, %d stalls: want about a fifth, and two stalls each", broken, trips, stats.Stalls)
	}
}

func roundTrip(addr string) (time.Duration, error) {
	begin := time.Now()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if _, err := c.Write([]byte("hello")); err != nil {
		return 0, err
	}
	_, err = io.ReadFull(c, make([]byte, 5))
	return time.Since(begin), err
}
