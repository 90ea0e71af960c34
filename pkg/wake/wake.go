// Package wake has goroutines tell each other that there is something to do.
package wake

// Signal leaves a value in a channel that has room for one, and does not block: who
// is signalled again before it has looked looks once.
func Signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
