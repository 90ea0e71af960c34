package broker

import "strconv"

// Names are the names of one installation's exchanges and queues.
type Names struct {
	// Namespace is the prefix, without the dot.
	Namespace string
}

// Tasks is the exchange that only work queues are bound to, so that a
// mandatory publish finds a task type without a queue.
func (n Names) Tasks() string { return n.Namespace + ".tasks" }

// Work is the queue of a task type.
func (n Names) Work(taskType string) string { return n.Namespace + ".work." + taskType }

// Status is both the exchange and the queue of status events.
func (n Names) Status() string { return n.Namespace + ".status" }

// Dead is both the exchange and the queue of dead letters.
func (n Names) Dead() string { return n.Namespace + ".dead" }

// Announce is the exchange through which workers talk to gateways.
func (n Names) Announce() string { return n.Namespace + ".announce" }

// Requests is the queue of workers' requests, which any gateway answers.
func (n Names) Requests() string { return n.Namespace + ".requests" }

// Beats is the queue of one gateway for workers' heartbeats.
func (n Names) Beats(gatewayID string) string { return n.Namespace + ".beats." + gatewayID }

// Control is the exchange through which gateways talk to workers.
func (n Names) Control() string { return n.Namespace + ".control" }

// ControlQueue is the queue of one worker's link for what gateways tell it.
func (n Names) ControlQueue(workerID string, link int) string {
	return n.Namespace + ".control.w." + workerID + "." + strconv.Itoa(link)
}

// Keys on the announce and control exchanges.
const (
	keyRequest = "request"
	keyBeat    = "beat"
)

func keyWorker(id string) string     { return "w." + id }
func keyType(taskType string) string { return "type." + taskType }
