package broker

import (
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// watchBlocked follows the broker's resource alarms: on a blocked connection
// the first publish vanishes and the next ones hang.
func (p *Publisher) watchBlocked(conn *amqp091.Connection) (stop func()) {
	blocked := conn.NotifyBlocked(make(chan amqp091.Blocking, 16))
	done := make(chan struct{})
	quit := make(chan struct{})
	go func() {
		defer close(done)
		p.followBlocked(blocked, quit)
	}()
	return func() {
		close(quit)
		<-done
		p.update(func() { p.blocked = "" })
	}
}

// blockedPeriod is how often the time of a block is counted while it lasts.
const blockedPeriod = time.Second

func (p *Publisher) followBlocked(blocked <-chan amqp091.Blocking, quit <-chan struct{}) {
	m := p.conn.meters
	m.setBlocked(false)
	m.wasBlocked(0)
	defer m.setBlocked(false)
	ticker := time.NewTicker(blockedPeriod)
	defer ticker.Stop()
	// since is up to when the time of the block is counted; zero for no block.
	var since time.Time
	count := func() {
		if now := time.Now(); !since.IsZero() {
			m.wasBlocked(now.Sub(since))
			since = now
		}
	}
	defer count()
	for {
		select {
		case b, ok := <-blocked:
			if !ok {
				return
			}
			p.update(func() {
				if p.blocked = ""; b.Active {
					p.blocked = "blocked: " + b.Reason
				}
			})
			m.setBlocked(b.Active)
			if count(); !b.Active {
				since = time.Time{}
			} else if since.IsZero() {
				since = time.Now()
			}
		case <-ticker.C:
			count()
		case <-quit:
			return
		}
	}
}
