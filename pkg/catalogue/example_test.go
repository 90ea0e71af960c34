package catalogue_test

import (
	"fmt"
	"time"

	// Links the descriptors of the service.
	_ "github.com/warrenmq/warren/gen/demo/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
)

func Example() {
	// In a worker:
	announcement, err := catalogue.Collect(nil, "demo.v1.ImageService")
	if err != nil {
		fmt.Println(err)
		return
	}

	// In a gateway, which is told when the worker was started:
	workerStart := time.Now()
	known := catalogue.New()
	bundle, err := catalogue.Build(announcement, catalogue.Limits{})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := known.Put(bundle, workerStart); err != nil {
		fmt.Println(err)
		return
	}
	for _, t := range known.Types() {
		fmt.Println(t.Name, t.Timeout(), t.ServerStreaming)
	}
	thumbnail, _ := known.Type("/demo.v1.ImageService/Thumbnail")
	fmt.Println(thumbnail.Validate([]byte{0x0a, 0x05, 'p', 'n', 'g'}))
	// Output:
	// demo.v1.ImageService.ContactSheet 10m0s true
	// demo.v1.ImageService.Thumbnail 10m0s false
	// task type demo.v1.ImageService.Thumbnail takes a demo.v1.ThumbnailRequest: field image: the payload can't be decoded: cut short
}
