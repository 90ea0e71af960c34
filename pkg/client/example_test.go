package client_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	"github.com/warrenmq/warren/pkg/client"
)

// A stub works as it is; its calls are tasks.
func Example() {
	gateway := startGateway() // stands for 127.0.0.1:7070
	defer gateway.Close()

	c, err := client.New(gateway.Target)
	if err != nil {
		panic(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	images := demov1.NewImageServiceClient(c)
	var id string
	thumbnail, err := images.Thumbnail(ctx, &demov1.ThumbnailRequest{MaxWidth: 64},
		client.WithPriority(client.PriorityHigh), client.WithLabel("customer", "c1"), client.TaskID(&id))
	if err != nil {
		panic(fmt.Sprintf("task %s: %v", id, err))
	}
	fmt.Println(thumbnail.Width)
	// Output: 64
}

// Submit returns as soon as the task is accepted.
func ExampleSubmit() {
	gateway := startGateway()
	defer gateway.Close()
	c, err := client.New(gateway.Target)
	if err != nil {
		panic(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	images := demov1.NewImageServiceClient(c)
	t, err := client.Submit(ctx, images.Thumbnail, &demov1.ThumbnailRequest{MaxWidth: 32}, client.WithIdempotencyKey("order-7"))
	if err != nil {
		panic(err)
	}
	for u, err := range t.Watch(ctx) {
		if err != nil {
			panic(err)
		}
		if u.Event != nil {
			fmt.Println(u.Event.Number, strings.TrimPrefix(u.Event.State.String(), "TASK_STATE_"))
		}
	}
	thumbnail, err := t.Wait(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Println(thumbnail.Width)
	// Output:
	// 1 QUEUED
	// 2 RUNNING
	// 3 SUCCEEDED
	// 32
}
