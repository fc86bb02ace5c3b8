package mbobakov

import "github.com/surecall/surecall"

// After takes the same target.
func After(target string) (*surecall.Client, error) {
	return surecall.NewClient(target, surecall.WithInsecure())
}
