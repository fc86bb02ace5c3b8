package browsertest

import (
	"bytes"
	"context"
	"flag"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

var update = flag.Bool("update", false, "write the pictures of docs/img anew")

// The pictures of the documentation: a fleet that has seen every fault, dark and light, wide
// and narrow. They are made in every run, and written with -update.
func TestPictures(t *testing.T) {
	cluster := surecalltest.NewCluster(t, 8)
	for n, i := range cluster.Instances() {
		i.Change(func(d *discovery.Instance) { d.Zone, d.Weight = "eu-1"+string(rune('a'+n%3)), 100+100*(n%2) })
	}
	client := cluster.Client()
	stock := start(t, 3, "stock")
	url := serve(t, surecall.StatusHandler(client, stock.client))
	if err := client.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var calls sync.WaitGroup
	t.Cleanup(func() { stop(); calls.Wait() })
	for range 12 {
		calls.Go(func() { call(ctx, orders.NewOrdersClient(client)) })
	}

	b := open(t)
	b.do(chromedp.Navigate(url))
	b.until(isLive)
	cluster.Instance(4).Delay(12 * time.Millisecond)
	b.until(`document.querySelectorAll("#s0 .spark polygon").length > 0`)
	cluster.Instance(1).Kill()
	b.until(state("orders-2") + `.includes("failed")`)
	cluster.Instance(3).FailSome(0.9, codes.Unavailable)
	b.until(state("orders-4") + `.includes("ejected")`)
	cluster.Instance(6).Hang()
	b.until(state("orders-7") + `.match(/suspect|ejected/)`)
	cluster.Instance(2).Serving(false)
	b.until(state("orders-3") + `.includes("not serving")`)
	cluster.Instance(5).FailSome(0.01, codes.Unavailable)
	if *update { // some more has happened then
		b.do(chromedp.Evaluate[chromedp.Void](`new Promise((done) => setTimeout(done, 10000))`, chromedp.EvalAwaitPromise))
	}
	order(t, orders.NewOrdersClient(client))
	cluster.Instance(5).FailSome(0, codes.OK)
	b.until(`document.querySelector("#s0-bad li:nth-child(-n+3) .advice") != null`)
	b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#s0-bad li:nth-child(-n+3) .advice").closest("details").open = true; scrollTo(0, 0)`))

	for _, p := range []struct {
		name, scheme  string
		width, height int64
		scale         float64
	}{
		{"status-light", "light", 1360, 0, 1}, {"status-dark", "dark", 1360, 0, 1}, {"status-narrow", "dark", 360, 1000, 1},
	} {
		b.prefer(p.scheme)
		height := p.height
		if height == 0 {
			b.do(chromedp.EmulateViewport(p.width, 900, chromedp.EmulateScale(p.scale)))
			height = int64(eval[float64](b, `document.getElementById("s0").getBoundingClientRect().bottom + scrollY + 10`))
		}
		b.do(chromedp.EmulateViewport(p.width, height, chromedp.EmulateScale(p.scale)))
		picture, err := chromedp.Run(b, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		if sideways := eval[float64](b, `document.documentElement.scrollWidth - innerWidth`); sideways > 0 {
			t.Errorf("%s: the page is %v px wider than its window", p.name, sideways)
		}
		decoded, err := png.Decode(bytes.NewReader(picture))
		if err != nil || decoded.Bounds().Dx() != int(p.width) {
			t.Errorf("%s: %v, %v", p.name, decoded.Bounds(), err)
		}
		if *update {
			small := compact(t, decoded)
			if len(small) > 300_000 {
				t.Errorf("%s has %d bytes", p.name, len(small))
			}
			write(t, p.name+".png", small)
		}
	}
}

// order orders until an order fails, which nobody may try again.
func order(t *testing.T, client orders.OrdersClient) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		if _, err := client.Place(ctx, &orders.PlaceRequest{}); grpcstatus.Code(err) == codes.Unavailable {
			return
		}
	}
	t.Fatal("no order failed within a minute")
}

// compact is the PNG of a picture in its 256 most frequent colours.
func compact(t *testing.T, p image.Image) []byte {
	t.Helper()
	area, many := p.Bounds(), map[color.Color]int{}
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			many[p.At(x, y)]++
		}
	}
	palette := slices.SortedFunc(maps.Keys(many), func(a, b color.Color) int { return many[b] - many[a] })
	small := image.NewPaletted(area, palette[:min(len(palette), 256)])
	index := map[color.Color]uint8{}
	for c := range many {
		index[c] = uint8(small.Palette.Index(c))
	}
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			small.SetColorIndex(x, y, index[p.At(x, y)])
		}
	}
	var b bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, small); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t *testing.T, name string, picture []byte) {
	t.Helper()
	folder := filepath.Join("..", "..", "docs", "img")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, name), picture, 0o644); err != nil {
		t.Fatal(err)
	}
}
