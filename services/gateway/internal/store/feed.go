package store

import (
	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/task"
)

// FeedPosition is a place in the feed: that before one event, or at the end of all
// that there are. The zero value is none.
type FeedPosition struct {
	// Store tells the feeds of different stores apart.
	Store [8]byte
	// Row and Index order the places of one feed, Row first; neither is negative.
	Row   int64
	Index int
}

// FeedQuery selects events of the feed.
type FeedQuery struct {
	// From is where to begin.
	From FeedPosition
	// Filter is one of Fields that must hold; nil is every event. State is compared
	// with the event's, all else with the task as it is now.
	Filter filter.Expr
	// QueuePrefix is as in Query.
	QueuePrefix string
	// Limit is the size of the page, from 1 to MaxPage.
	Limit int
	// Bodies selects the events with their bodies. Such a page has at least one
	// event, if there is one, and ends where the next one's body would exceed
	// MaxEventBytes in all.
	Bodies bool
}

// FeedPage is a part of the feed.
type FeedPage struct {
	Entries []FeedEntry
	// Next is the place up to which events were looked at.
	Next FeedPosition
	// More says that there are others after it.
	More bool
}

// FeedEntry is one event.
type FeedEntry struct {
	// Task is as it is now.
	Task task.Task
	// Event is as Events returns it.
	Event task.NumberedEvent
	// Next is the place after it.
	Next FeedPosition
}
