//go:build unix

package run

import (
	"os"
	"os/exec"
	"strings"
)

// grpcurlModule pins grpcurl for whoever has not installed it.
const grpcurlModule = ".tools/grpcurl.mod"

// script is what to type. $id stands for the shell's variable, the words in
// capitals are filled in.
const script = `
Warren is up: the gateway on ADDRESS, the dead-letter service on DEADLETTER, a worker behind them.
Try, in another terminal:
ALIAS
  # what there is, the worker's own services included
  grpcurl -plaintext ADDRESS list
  grpcurl -plaintext ADDRESS describe demo.v1.FaultService

  # a task that takes 5 s: watch it from its submission to its end
  id=$(grpcurl -plaintext -d '{"type":"demo.v1.FaultService.Delay","payload":{"@type":"type.googleapis.com/demo.v1.DelayRequest","delay":"5s"}}' \
    ADDRESS warren.task.v1.TaskService/SubmitTask | FIRST_ID); echo "$id"
  grpcurl -plaintext -d '{"task_id":"'"$id"'"}' ADDRESS warren.task.v1.TaskService/WatchTask

  # a photograph's thumbnail, and its result when it is there
  id=$(grpcurl -plaintext -d @ ADDRESS warren.task.v1.TaskService/SubmitTask < PICTURE | FIRST_ID); echo "$id"
  grpcurl -plaintext -d '{"task_id":"'"$id"'","view":"TASK_VIEW_FULL"}' ADDRESS warren.task.v1.TaskService/WaitTask

  # a batch, of which each item stands for itself: watch all of Delay's tasks for 8 s meanwhile
  grpcurl -plaintext -max-time 8 -d '{"filter":"type = \"demo.v1.FaultService.Delay\""}' ADDRESS warren.task.v1.TaskService/WatchTasks & sleep 2
  grpcurl -plaintext -d '{"requests":[
    {"type":"demo.v1.FaultService.Delay","payload":{"@type":"type.googleapis.com/demo.v1.DelayRequest"},"labels":{"customer":"c1"}},
    {"type":"demo.v1.FaultService.Delya","payload":{"@type":"type.googleapis.com/demo.v1.DelayRequest"}}]}' ADDRESS warren.task.v1.TaskService/BatchSubmitTasks
  wait $!

  # a task that fails three times and may be tried twice: watch it die, then see why
  id=$(grpcurl -plaintext -d '{"type":"demo.v1.FaultService.FailTimes","payload":{"@type":"type.googleapis.com/demo.v1.FailTimesRequest","key":"'"$(date)"'","times":3},
    "retry":{"max_attempts":2,"backoff":{"fixed":"2s","jitter":"JITTER_NONE"}}}' ADDRESS warren.task.v1.TaskService/SubmitTask | FIRST_ID); echo "$id"
  grpcurl -plaintext -d '{"task_id":"'"$id"'"}' ADDRESS warren.task.v1.TaskService/WatchTask
  grpcurl -plaintext -d '{"task_id":"'"$id"'"}' ADDRESS warren.task.v1.TaskService/ListTaskAttempts

  # all that had such a failure on their way, newest first
  grpcurl -plaintext -d '{"filter":"attempt.code = UNAVAILABLE"}' ADDRESS warren.task.v1.TaskService/ListTasks

  # its dead letter: find it, replay it, and see it RESOLVED some seconds later
  grpcurl -plaintext -d '{"filter":"state = \"OPEN\" AND code = \"UNAVAILABLE\""}' DEADLETTER warren.deadletter.v1.DeadLetterService/ListDeadLetters
  grpcurl -plaintext -d '{"dead_letter_id":"'"$id"'","reason":"trying it"}' DEADLETTER warren.deadletter.v1.DeadLetterService/ReplayDeadLetter
  grpcurl -plaintext -d '{"dead_letter_id":"'"$id"'"}' DEADLETTER warren.deadletter.v1.DeadLetterService/GetDeadLetter

  # what operators see and change: task types with their options, and whether RabbitMQ is as it should be
  grpcurl -plaintext ADDRESS warren.admin.v1.AdminService/ListTaskTypes
  grpcurl -plaintext -d '{"name":"demo.v1.FaultService.Fail","options":{"retry":{"max_attempts":3}},"update_mask":{"paths":["retry.max_attempts"]},"reason":"trying it"}' \
    ADDRESS warren.admin.v1.AdminService/UpdateTaskType
  grpcurl -plaintext ADDRESS warren.admin.v1.AdminService/CheckTopology

  # a gRPC server in any language works too, behind a forwarding worker: in two more terminals
  #   bin/demo serve
  #   bin/worker --target 127.0.0.1:7075

Ctrl-C stops everything.
`

// thingsToTry are commands that work as they stand.
func thingsToTry(gateway, deadletter, picture string) string {
	return strings.NewReplacer(
		"ADDRESS", gateway,
		"DEADLETTER", deadletter,
		"PICTURE", quoted(picture),
		"FIRST_ID", `sed -n 's/.*"taskId": *"\([^"]*\)".*/\1/p'`,
		"ALIAS\n", alias(),
	).Replace(script)
}

// alias stands in for a grpcurl that is not installed.
func alias() string {
	if _, err := exec.LookPath("grpcurl"); err == nil {
		return ""
	}
	if _, err := os.Stat(grpcurlModule); err != nil {
		return "\n  (grpcurl is not on PATH: https://github.com/fullstorydev/grpcurl)\n"
	}
	return "\n  # grpcurl is not on PATH; in this repository, for now:\n" +
		"  grpcurl() { go tool -modfile=" + grpcurlModule + " grpcurl \"$@\"; }\n"
}

// quoted is the text as one word of a shell.
func quoted(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
