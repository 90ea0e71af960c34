package worker

// Pause keeps the worker from beginning tasks until [Worker.Resume]: it takes no
// more of any type, and gives back those that it has fetched and not started,
// which costs them nothing. Handlers that run go on, and the worker stays
// registered. reason is for the log, where each change is told once.
//
// It does not wait for that. It may be called at any time, also before Run, and
// again, which replaces the reason.
func (w *Worker) Pause(reason string) {
	if w.gate.pause(reason) {
		w.cfg.Logger.Info("paused: taking no tasks", "reason", reason)
	}
}

// Resume ends what Pause began. Without a pause it does nothing.
func (w *Worker) Resume() {
	if w.gate.resume() {
		w.cfg.Logger.Info("resumed: taking tasks again")
	}
}
