package admin

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/pkg/rpc"
)

// Each change of a schedule is logged once, with the reason that was given.
func TestReasonsOfSchedulesAreLogged(t *testing.T) {
	t.Parallel()
	k := newTimekeeper(t)
	var log bytes.Buffer
	k.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	for _, call := range []struct {
		said string
		do   func(reason string) error
	}{
		{"made", func(reason string) error {
			_, err := k.CreateSchedule(t.Context(), &adminv1.CreateScheduleRequest{Schedule: daily(t, "s"), Reason: reason})
			return err
		}},
		{"changed", func(reason string) error {
			_, err := k.UpdateSchedule(t.Context(), &adminv1.UpdateScheduleRequest{
				Schedule: daily(t, "s"), UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"task"}}, Reason: reason,
			})
			return err
		}},
		{"paused", func(reason string) error {
			_, err := k.PauseSchedule(t.Context(), &adminv1.PauseScheduleRequest{ScheduleId: "s", Reason: reason})
			return err
		}},
		{"resumed", func(reason string) error {
			_, err := k.ResumeSchedule(t.Context(), &adminv1.ResumeScheduleRequest{ScheduleId: "s", Reason: reason})
			return err
		}},
		{"triggered", func(reason string) error {
			_, err := k.TriggerSchedule(t.Context(), &adminv1.TriggerScheduleRequest{ScheduleId: "s", Reason: reason})
			return err
		}},
		{"deleted", func(reason string) error {
			_, err := k.Service.DeleteSchedule(t.Context(), &adminv1.DeleteScheduleRequest{ScheduleId: "s", Reason: reason})
			return err
		}},
	} {
		log.Reset()
		require.NoError(t, call.do("it is "+call.said+" by a test"), call.said)
		require.Equal(t, 1, strings.Count(log.String(), "\n"), log.String())
		require.Contains(t, log.String(), "an operator has "+call.said+" a schedule")
		require.Contains(t, log.String(), `reason="it is `+call.said+` by a test"`)
		require.Contains(t, log.String(), "schedule=s ")
	}
}

func TestReasonsOfSchedulesAreBounded(t *testing.T) {
	t.Parallel()
	for _, with := range []func(reason string) proto.Message{
		func(reason string) proto.Message {
			return &adminv1.CreateScheduleRequest{Schedule: daily(t, "s"), Reason: reason}
		},
		func(reason string) proto.Message {
			return &adminv1.UpdateScheduleRequest{
				Schedule: daily(t, "s"), UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"task"}}, Reason: reason,
			}
		},
		func(reason string) proto.Message {
			return &adminv1.ResumeScheduleRequest{ScheduleId: "s", Reason: reason}
		},
		func(reason string) proto.Message {
			return &adminv1.TriggerScheduleRequest{ScheduleId: "s", Reason: reason}
		},
		func(reason string) proto.Message {
			return &adminv1.DeleteScheduleRequest{ScheduleId: "s", Reason: reason}
		},
	} {
		require.NoError(t, rpc.Validate(with("")), "it may be left out")
		require.NoError(t, rpc.Validate(with(strings.Repeat("ü", 500))))
		require.ErrorContains(t, rpc.Validate(with(strings.Repeat("ü", 501))), "reason")
	}
}
