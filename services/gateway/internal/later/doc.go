// Package later puts tasks into their queues when their time has come.
//
// The store leases them to one loop at a time. A loop that ends in between leaves
// its leases to end, and the tasks are published again: each publish has a copy of
// its own and is marked as a resend, so that a task is started once.
package later
