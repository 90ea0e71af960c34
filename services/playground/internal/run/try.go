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
Warren is up: the gateway on ADDRESS, a worker behind it. Try, in another terminal:
ALIAS
  # what there is, the worker's own services included
  grpcurl -plaintext ADDRESS list
  grpcurl -plaintext ADDRESS describe warren.task.v1.TaskService
  grpcurl -plaintext ADDRESS describe demo.v1.FailRequest

  # a task that takes 5 s: watch it from its submission to its end
  id=$(grpcurl -plaintext -d '{"type":"demo.v1.FaultService.Delay","payload":{"@type":"type.googleapis.com/demo.v1.DelayRequest","delay":"5s"}}' \
    ADDRESS warren.task.v1.TaskService/SubmitTask | FIRST_ID); echo "$id"
  grpcurl -plaintext -d '{"task_id":"'"$id"'"}' ADDRESS warren.task.v1.TaskService/WatchTask

  # a task that fails
  id=$(grpcurl -plaintext -d '{"type":"demo.v1.FaultService.Fail","payload":{"@type":"type.googleapis.com/demo.v1.FailRequest","code":5,"message":"no such picture"}}' \
    ADDRESS warren.task.v1.TaskService/SubmitTask | FIRST_ID); echo "$id"
  grpcurl -plaintext -d '{"task_id":"'"$id"'","view":"TASK_VIEW_FULL"}' ADDRESS warren.task.v1.TaskService/GetTask
  grpcurl -plaintext -d '{"task_id":"'"$id"'"}' ADDRESS warren.task.v1.TaskService/ListTaskAttempts

  # a photograph's thumbnail, and its result when it is there
  id=$(grpcurl -plaintext -d @ ADDRESS warren.task.v1.TaskService/SubmitTask < PICTURE | FIRST_ID); echo "$id"
  grpcurl -plaintext -d '{"task_id":"'"$id"'","view":"TASK_VIEW_FULL"}' ADDRESS warren.task.v1.TaskService/WaitTask

Ctrl-C stops everything.
`

// thingsToTry are commands that work as they stand.
func thingsToTry(address, picture string) string {
	return strings.NewReplacer(
		"ADDRESS", address,
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
