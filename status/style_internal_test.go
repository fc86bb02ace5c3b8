package status

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Text on every ground that it stands on has the contrast of WCAG's level AA, dark and light.
func TestContrast(t *testing.T) {
	style, err := assets.ReadFile("assets/style.css")
	if err != nil {
		t.Fatal(err)
	}
	schemes := regexp.MustCompile(`:root \{[^}]*\}`).FindAllString(string(style), -1)
	if len(schemes) != 2 {
		t.Fatalf("%d schemes: want light and dark", len(schemes))
	}
	for n, scheme := range schemes {
		colour := map[string]float64{}
		for _, m := range regexp.MustCompile(`--([a-z-]+): #([0-9a-f]+);`).FindAllStringSubmatch(scheme, -1) {
			colour[m[1]] = luminance(t, m[2])
		}
		for ground, texts := range map[string]string{
			"page": "text dim link ok warn bad", "card": "text dim link ok warn bad idle", "soft": "text dim idle",
			"ok-soft": "ok", "warn-soft": "text dim warn bad ok", "bad-soft": "text dim bad warn", "idle-soft": "idle",
		} {
			for name := range strings.FieldsSeq(known(t, colour, ground, texts)) {
				light, dark := max(colour[name], colour[ground]), min(colour[name], colour[ground])
				if ratio := (light + 0.05) / (dark + 0.05); ratio < 4.5 {
					t.Errorf("scheme %d: %s on %s: %.2f: want 4.5", n, name, ground, ratio)
				}
			}
		}
	}
}

// known returns texts, all of which, and ground, have a colour.
func known(t *testing.T, colour map[string]float64, ground, texts string) string {
	t.Helper()
	for name := range strings.FieldsSeq(ground + " " + texts) {
		if _, ok := colour[name]; !ok {
			t.Fatalf("no colour %q", name)
		}
	}
	return texts
}

func luminance(t *testing.T, hex string) (sum float64) {
	t.Helper()
	if len(hex) == 3 {
		hex = string([]byte{hex[0], hex[0], hex[1], hex[1], hex[2], hex[2]})
	}
	for n, weight := range []float64{0.2126, 0.7152, 0.0722} {
		v, err := strconv.ParseUint(hex[2*n:2*n+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		c := float64(v) / 255
		if c <= 0.03928 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}

// Every width that a bar can have is in the style sheet.
func TestBarsHaveTheirStyle(t *testing.T) {
	style, err := assets.ReadFile("assets/style.css")
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= steps; n++ {
		if !strings.Contains(string(style), ".bar-"+strconv.Itoa(n)+" { --w: "+strconv.Itoa(2*n)+"px; }") {
			t.Errorf("no width of bar-%d", n)
		}
	}
}
