package images_test

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/image/draw"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	"github.com/warrenmq/warren/services/demo/internal/images"
)

var (
	red    = color.RGBA{R: 200, G: 30, B: 40, A: 255}
	green  = color.RGBA{R: 40, G: 160, B: 60, A: 255}
	blue   = color.RGBA{R: 30, G: 60, B: 190, A: 255}
	yellow = color.RGBA{R: 230, G: 200, B: 40, A: 255}
	white  = color.RGBA{R: 255, G: 255, B: 255, A: 255}
)

// dial serves the service over a real gRPC connection in memory.
func dial(t *testing.T) demov1.ImageServiceClient {
	t.Helper()
	server := grpc.NewServer()
	demov1.RegisterImageServiceServer(server, images.NewService())
	listener := bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///images",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return listener.DialContext(ctx)
		}),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		server.Stop()
		require.NoError(t, <-served)
	})
	return demov1.NewImageServiceClient(conn)
}

// quarters is a picture whose quarters have the four colours, from the top
// left, row by row.
func quarters(width, height int) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	for i, c := range []color.RGBA{red, green, blue, yellow} {
		corner := image.Pt(i%2*width/2, i/2*height/2)
		draw.Draw(img, image.Rectangle{Min: corner, Max: corner.Add(image.Pt(width-width/2, height-height/2))},
			image.NewUniform(c), image.Point{}, draw.Src)
	}
	return img
}

func plain(c color.Color, width, height int) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	draw.Draw(img, img.Bounds(), image.NewUniform(c), image.Point{}, draw.Src)
	return img
}

func asJPEG(t *testing.T, img image.Image) []byte {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, jpeg.Encode(&out, img, &jpeg.Options{Quality: 95}))
	return out.Bytes()
}

func asPNG(t *testing.T, img image.Image) []byte {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, png.Encode(&out, img))
	return out.Bytes()
}

func asGIF(t *testing.T, img image.Image) []byte {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, gif.Encode(&out, img, nil))
	return out.Bytes()
}

// claiming is a PNG whose header says width x height and which has no pixels.
func claiming(t *testing.T, width, height uint32) []byte {
	t.Helper()
	whole := asPNG(t, plain(red, 1, 1))
	header := append([]byte(nil), whole[:33]...)
	putSize(header, width, height)
	return header
}

func requireColour(t *testing.T, want color.RGBA, img image.Image, at image.Point) {
	t.Helper()
	got := color.RGBAModel.Convert(img.At(at.X, at.Y)).(color.RGBA)
	const tolerance = 6
	require.InDelta(t, want.R, got.R, tolerance, "red at %v is %v", at, got)
	require.InDelta(t, want.G, got.G, tolerance, "green at %v is %v", at, got)
	require.InDelta(t, want.B, got.B, tolerance, "blue at %v is %v", at, got)
	require.Equal(t, want.A, got.A, "alpha at %v", at)
}

// requireInvalid checks for INVALID_ARGUMENT with a BadRequest that names the
// field, and for the words in its message.
func requireInvalid(t *testing.T, err error, field, words string) {
	t.Helper()
	st := status.Convert(err)
	require.Equal(t, codes.InvalidArgument, st.Code(), "%v", err)
	require.Contains(t, st.Message(), words)
	require.Len(t, st.Details(), 1)
	bad, ok := st.Details()[0].(*errdetails.BadRequest)
	require.True(t, ok, "%T", st.Details()[0])
	require.Len(t, bad.GetFieldViolations(), 1)
	require.Equal(t, field, bad.GetFieldViolations()[0].GetField())
}
