// Package broker is Warren's RabbitMQ layer: the topology, a publisher with
// confirms, consumers, the AMQP 1.0 link on which workers take and settle
// tasks, and the codec of everything that travels. It alone imports AMQP
// libraries.
//
// Delivery semantics. A publish answers nil only when the broker has confirmed
// the message and routed it. [ErrNotSent] says that the broker cannot have it,
// [ErrUnknown] that it may. A delivery belongs to the connection that brought
// it: once that is gone, settling it fails, and the broker delivers it again.
//
// Connections are reopened for ever, over all addresses of the cluster, with
// backoff and jitter; amqp091-go's own recovery stays off because it can
// acknowledge the wrong message.
package broker
