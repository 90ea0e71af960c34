package store

import (
	"time"

	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/task"
)

// MaxPage bounds the tasks of one answer of List.
const MaxPage = 1000

// Query selects tasks.
type Query struct {
	// Filter is one of Fields that must hold; nil is every task.
	Filter filter.Expr
	// QueuePrefix and the task type are the name of a task's queue.
	QueuePrefix string
	// Before is Next of the page before; empty begins with the newest task.
	Before string
	// Limit is the size of the page, from 1 to MaxPage.
	Limit int
	// Time bounds the search: when about that much has passed, the page ends with
	// what was found. Each page looks at some tasks at least.
	Time time.Duration
}

// Page is a page of tasks.
type Page struct {
	// Tasks are without bodies.
	Tasks []task.Task
	// Next is the id of the last task that was looked at, to go on below it;
	// empty after the last page.
	Next string
}
