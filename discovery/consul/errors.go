package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/hashicorp/consul/api"
)

// scrub makes err fit to be shown: the agent instead of a long URL, and no secret,
// whatever a proxy echoes.
func (e endpoint) scrub(err error) error {
	var request *url.Error
	if errors.As(err, &request) {
		if errors.Is(request.Err, context.DeadlineExceeded) {
			err = fmt.Errorf("agent %s gives no answer: %w", e.name(), context.DeadlineExceeded)
		} else {
			err = fmt.Errorf("agent %s: %w", e.name(), request.Err)
		}
	}
	text := err.Error()
	token, _ := e.token()
	shown := text
	for _, secret := range []string{token, e.Token, e.Password} {
		if secret != "" {
			shown = strings.ReplaceAll(shown, secret, "***")
		}
	}
	if shown == text {
		return err
	}
	var status api.StatusError
	if errors.As(err, &status) {
		return api.StatusError{Code: status.Code, Body: shown}
	}
	return errors.New(shown)
}

// permanentTexts are the errors of a query that no waiting mends, which Consul
// reports as 500 like any passing trouble.
var permanentTexts = []string{
	"no match found, expected", // a filter's syntax
	"Selector",                 // a filter's unknown field
	"Failed to create boolean expression evaluator",
	"No path to datacenter",
	"sameness group",
}

// permanent reports whether err is the fault of the query, the token or the
// configuration. Such a query is repeated as well, but slowly: all of these can be
// mended on Consul's side.
func permanent(err error) bool {
	var status api.StatusError
	if !errors.As(err, &status) {
		return false
	}
	switch status.Code {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return true
	}
	for _, text := range permanentTexts {
		if strings.Contains(status.Body, text) {
			return true
		}
	}
	return false
}

// notFound reports whether the agent does not know what the request names.
func notFound(err error) bool {
	var status api.StatusError
	return errors.As(err, &status) && status.Code == http.StatusNotFound
}
