package filter

import (
	"maps"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/code"

	"github.com/warrenmq/warren/pkg/task"
)

// labelsField is the name before the dot of a label.
const labelsField = "labels"

// kind is what a field's values are.
type kind int

const (
	kindText kind = iota + 1
	kindEnum
	kindNumber
	kindTime
)

// declaration is a field that filters may name.
type declaration struct {
	field Field
	kind  kind
	// names are the values of a kindEnum.
	names map[string]int
}

var declarations = map[string]declaration{
	"state":            {FieldState, kindEnum, map[string]int{"OPEN": 1, "IN_REPLAY": 2, "RESOLVED": 3, "DISCARDED": 4}},
	"cause":            {FieldCause, kindEnum, causeNames()},
	"code":             {FieldCode, kindEnum, codeNames()},
	"type":             {FieldType, kindText, nil},
	"reason":           {FieldReason, kindText, nil},
	"message":          {FieldMessage, kindText, nil},
	"worker_id":        {FieldWorkerID, kindText, nil},
	"trace_id":         {FieldTraceID, kindText, nil},
	"task_id":          {FieldTaskID, kindText, nil},
	"run":              {FieldRun, kindNumber, nil},
	"attempt":          {FieldAttempt, kindNumber, nil},
	"occurrence_count": {FieldOccurrenceCount, kindNumber, nil},
	"create_time":      {FieldCreateTime, kindTime, nil},
	"dead_time":        {FieldDeadTime, kindTime, nil},
	"update_time":      {FieldUpdateTime, kindTime, nil},
}

func causeNames() map[string]int {
	names := map[string]int{}
	for c := task.Cause(1); ; c++ {
		if _, ok := task.ParseCause(c.String()); !ok {
			return names
		}
		names[c.String()] = int(c)
	}
}

// codeNames are the codes that a failure can have.
func codeNames() map[string]int {
	names := map[string]int{}
	for name, value := range code.Code_value {
		if value != int32(code.Code_OK) {
			names[name] = int(value)
		}
	}
	return names
}

// Fields are the names of the fields, sorted, with labels.KEY for labels.
func Fields() []string {
	return slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(declarations)), labelsField+".KEY")))
}

func fieldList() string { return strings.Join(Fields(), ", ") }

// nameList is the names of an enum by their numbers.
func (d declaration) nameList() string {
	names := slices.SortedFunc(maps.Keys(d.names), func(a, b string) int { return d.names[a] - d.names[b] })
	return strings.Join(names, ", ")
}
