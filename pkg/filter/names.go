package filter

import (
	"google.golang.org/genproto/googleapis/rpc/code"

	"github.com/warrenmq/warren/pkg/task"
)

// Causes are the causes of dead letters: task.Cause by the API's names.
func Causes() Values {
	numbers := map[string]int{}
	for c := task.Cause(1); ; c++ {
		if _, ok := task.ParseCause(c.String()); !ok {
			return Names("CAUSE_", numbers)
		}
		numbers[c.String()] = int(c)
	}
}

// Codes are the codes that a failure can have: google.rpc.Code without OK.
func Codes() Values {
	numbers := map[string]int{}
	for name, value := range code.Code_value {
		if value != int32(code.Code_OK) {
			numbers[name] = int(value)
		}
	}
	return Names("", numbers)
}
