package doctor

import (
	"cmp"
	"slices"
	"strings"
)

// similar returns the names that someone who wrote want may have meant, the likeliest
// first, at most three. Case is nothing to Consul, and dashes and the like are what is
// mistaken most.
func similar(want string, names []string) []string {
	type candidate struct {
		name     string
		distance int
	}
	plain := folded(want)
	var found []candidate
	for _, name := range names {
		if len(name) > 128 || len(want) > 128 {
			continue // Consul's names are shorter, and the distance takes their product
		}
		other := folded(name)
		d := distance(plain, other)
		switch {
		case other == plain:
			d = 0
		case d <= max(1, len(plain)/4):
		case min(len(plain), len(other)) >= 3 && (strings.Contains(other, plain) || strings.Contains(plain, other)):
			d = len(plain) + 1 // after all slips of the pen
		default:
			continue
		}
		found = append(found, candidate{name, d})
	}
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), strings.Compare(a.name, b.name))
	})
	var likely []string
	for _, c := range found[:min(len(found), 3)] {
		likely = append(likely, c.name)
	}
	return likely
}

// folded is a name without what is mistaken most.
func folded(name string) string {
	return strings.NewReplacer("-", "", "_", "", ".", "", " ", "", "/", "").Replace(strings.ToLower(name))
}

// distance is how many characters have to be added, left out, replaced, or swapped with
// their neighbour to make b of a.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	before, last, row := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(x); i++ {
		row[0] = i
		for j := 1; j <= len(y); j++ {
			same := 1
			if x[i-1] == y[j-1] {
				same = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+same)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(y)]
}
