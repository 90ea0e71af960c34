"""A gRPC client that knows nothing of Warren but the metadata of its calls.

It calls demo.v1 with the code that protoc generated, and prints what it was
answered, as one JSON object.
"""

import argparse
import base64
import json
import sys

import grpc


def readable(metadata):
    """Metadata as a mapping of lists; bytes in base64."""
    out = {}
    for key, value in metadata or ():
        out.setdefault(key, []).append(value if isinstance(value, str) else base64.b64encode(value).decode())
    return out


def failure(call):
    """The status of a call that failed."""
    return {
        "code": call.code().value[0],
        "message": call.details(),
        "header": readable(call.initial_metadata()),
        "trailer": readable(call.trailing_metadata()),
    }


def call_all(channel, picture, faults_pb2, faults_grpc, images_pb2, images_grpc):
    """What each kind of call is answered."""
    images, faults = images_grpc.ImageServiceStub(channel), faults_grpc.FaultServiceStub(channel)
    late = (("warren-headers", "late"), ("x-request-id", "r-1"), ("x-blob-bin", b"\x00\xfe\xff"))
    out = {}

    thumbnail, call = images.Thumbnail.with_call(images_pb2.ThumbnailRequest(image=picture), timeout=20)
    out["unary"] = {
        "width": thumbnail.width, "height": thumbnail.height, "same": thumbnail.image == picture,
        "header": readable(call.initial_metadata()), "trailer": readable(call.trailing_metadata()),
    }

    stream = images.ContactSheet(images_pb2.ContactSheetRequest(images=[picture] * 7), timeout=20)
    messages = [[m.placed, m.total, len(m.sheet)] for m in stream]
    out["stream"] = {"messages": messages, "header": readable(stream.initial_metadata()), "trailer": readable(stream.trailing_metadata())}

    try:
        faults.Fail(faults_pb2.FailRequest(code=9, message="nicht möglich: 100 %", reason="BROKEN"), timeout=20, metadata=late)
    except grpc.RpcError as error:
        out["failure"] = failure(error)

    _, call = faults.Fail.with_call(faults_pb2.FailRequest(), timeout=20, metadata=late)
    out["metadata"] = {"header": readable(call.initial_metadata()), "trailer": readable(call.trailing_metadata())}

    _, call = faults.Fail.with_call(faults_pb2.FailRequest(), timeout=20, metadata=(("warren-mode", "async"), ("warren-labels", "from=python")))
    out["async"] = {"header": readable(call.initial_metadata())}

    try:
        request = faults_pb2.DelayRequest()
        request.delay.FromMilliseconds(1500)
        faults.Delay(request, timeout=0.7)
    except grpc.RpcError as error:
        out["deadline"] = failure(error)
    return out


def main():
    flags = argparse.ArgumentParser()
    flags.add_argument("--address", required=True)
    flags.add_argument("--picture", required=True, help="a PNG, in base64")
    flags.add_argument("--generated", required=True, help="folder with the generated code")
    args = flags.parse_args()
    sys.path.insert(0, args.generated)
    from demo.v1 import fault_service_pb2, fault_service_pb2_grpc, image_service_pb2, image_service_pb2_grpc

    with grpc.insecure_channel(args.address) as channel:
        answers = call_all(
            channel, base64.b64decode(args.picture), fault_service_pb2, fault_service_pb2_grpc, image_service_pb2, image_service_pb2_grpc)
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
