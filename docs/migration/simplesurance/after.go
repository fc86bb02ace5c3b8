// Package simplesurance is the code of the guide from
// github.com/simplesurance/grpcconsulresolver.
package simplesurance

import "github.com/surecall/surecall"

// After takes the same target.
func After(target string) (*surecall.Client, error) {
	return surecall.NewClient(target, surecall.WithInsecure())
}
