package broker

import (
	"fmt"
	"strconv"
	"strings"
)

// minVersion is the first RabbitMQ whose at-least-once dead-lettering can't
// stick, and 4.3 the first with AMQP 1.0's delivery times.
var minVersion = [3]int{4, 3, 3}

// VersionError says that the broker is too old, or not RabbitMQ.
type VersionError struct{ Product, Version string }

// Error says which version is needed.
func (e *VersionError) Error() string {
	return fmt.Sprintf("the broker is %s %s; Warren needs RabbitMQ %d.%d.%d or later",
		e.Product, e.Version, minVersion[0], minVersion[1], minVersion[2])
}

// checkVersion reads the product and version that a broker announces when a
// connection opens.
func checkVersion(product, version string) error {
	if product != "RabbitMQ" {
		return &VersionError{product, version}
	}
	number, _, _ := strings.Cut(version, "-")
	number, _, _ = strings.Cut(number, "+")
	parts := strings.Split(number, ".")
	for i, least := range minVersion {
		n := 0
		if i < len(parts) {
			var err error
			if n, err = strconv.Atoi(parts[i]); err != nil {
				return &VersionError{product, version}
			}
		}
		if n != least {
			if n < least {
				return &VersionError{product, version}
			}
			return nil
		}
	}
	return nil
}
