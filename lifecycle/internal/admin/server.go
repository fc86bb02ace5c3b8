package admin

import (
	"log/slog"
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
// would have to be waited for. What net/http has to say goes to logger as a warning.
func NewServer(h http.Handler, logger *slog.Logger) *http.Server {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       headerTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	s.SetKeepAlivesEnabled(false)
	return s
}
