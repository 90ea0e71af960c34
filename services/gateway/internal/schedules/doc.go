// Package schedules submits tasks again and again: it says when schedules fire, and
// has them fire then.
//
// A firing, its task and the schedule's next time are one transaction of the store,
// so that it happens once, whoever ends in between; the task's id follows from the
// schedule and the time.
package schedules
