package admin

import (
	"net/http"
	"time"
)

// The bounds of a connection.
const (
	headerTimeout = 5 * time.Second
	maxHeader     = 16 << 10
)

// NewServer returns a server for h, ready to serve. It has no timeout for the whole of
// a request, which would end POST /offline in the middle of a drain (net/http cancels
// a request's context when ReadTimeout passes, while the handler runs); nothing else
// takes time. Connections are not kept: requests are rare, and at the end an idle one
// would have to be waited for.
func NewServer(h http.Handler) *http.Server {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       headerTimeout,
		MaxHeaderBytes:    maxHeader,
	}
	s.SetKeepAlivesEnabled(false)
	return s
}
