// Package ops is the HTTP port of a process for those who run it: probes, metrics,
// profiles.
package ops

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"
)

const (
	// headerTimeout bounds how long a request takes to come in, answerTimeout its
	// answer. A profile has the time that it is asked for besides.
	headerTimeout = 5 * time.Second
	answerTimeout = 30 * time.Second
	idleTimeout   = time.Minute
)

// Config says what a port serves besides /healthz.
type Config struct {
	// Ready says what keeps the process from its work, for /readyz; nil is nothing.
	// Required.
	Ready func() error
	// Metrics is /metrics; nil is none.
	Metrics http.Handler
	// Profiling serves /debug/pprof/. Who can read it learns what is in memory.
	Profiling bool
	Logger    *slog.Logger
}

// Handler serves as configured: /healthz says that the process is up, /readyz whether
// everything that it needs works, else what does not.
func (c Config) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "up") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := c.Ready(); err != nil {
			say(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		say(w, http.StatusOK, "ready")
	})
	if c.Metrics != nil {
		mux.Handle("GET /metrics", c.Metrics)
	}
	if c.Profiling {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		// `go tool pprof` asks so.
		mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	}
	return mux
}

func say(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	// One that has hung up needs no answer.
	_, _ = fmt.Fprintln(w, text)
}

// Serve serves on a listener, which it closes, until ctx ends. A nil listener is none.
func (c Config) Serve(ctx context.Context, l net.Listener) {
	if l == nil {
		return
	}
	c.Logger.InfoContext(ctx, "health is served over HTTP", "address", l.Addr().String(), "metrics", c.Metrics != nil, "pprof", c.Profiling)
	s := &http.Server{
		Handler: c.Handler(), ReadTimeout: headerTimeout, WriteTimeout: answerTimeout, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(c.Logger.Handler(), slog.LevelWarn),
	}
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		c.Logger.ErrorContext(ctx, "health is not served over HTTP any more", "error", err)
	}
}
