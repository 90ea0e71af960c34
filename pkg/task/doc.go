// Package task is the domain of Warren: what a task is, which states it goes
// through, how status events that arrive late, twice and out of order are
// joined into one history, and what a handler may know and say about the task
// it carries out. It knows nothing of AMQP, SQL or gRPC servers.
//
// Handlers need it only to ask ([FromContext]) and to report progress
// ([Progress]); both work, doing nothing, outside a worker as well.
package task
