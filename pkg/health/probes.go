package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// probeTimeout bounds a request to the probes.
const probeTimeout = 5 * time.Second

// probes are for who watches over processes: /healthz says that this one is up,
// /readyz whether everything that it needs works, else what does not.
func (h *Health) probes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "up") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := h.trouble(); err != nil {
			say(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		say(w, http.StatusOK, "ready")
	})
	return mux
}

func say(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	// One that has hung up needs no answer.
	_, _ = fmt.Fprintln(w, text)
}

// ServeProbes serves them until ctx ends. A nil listener is none.
func (h *Health) ServeProbes(ctx context.Context, l net.Listener) {
	if l == nil {
		return
	}
	h.log.Info("health is served over HTTP", "address", l.Addr().String())
	s := &http.Server{Handler: h.probes(), ReadTimeout: probeTimeout, WriteTimeout: probeTimeout, IdleTimeout: time.Minute}
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		h.log.Error("health is not served over HTTP any more", "error", err)
	}
}
