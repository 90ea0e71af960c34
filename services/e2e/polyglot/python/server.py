"""A gRPC server that knows nothing of Warren but the metadata of its calls.

It serves demo.v1 with the code that protoc generated, without reflection and
without a health service, as Debian's python3-grpcio has neither.
"""

import argparse
import os
import socket
import struct
import sys
import threading
import time
from concurrent import futures

import grpc


class Recorder:
    """Reports each start of a handler, before anything else happens."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self._lock = threading.Lock()
        self._socket = socket.create_connection((host, int(port)))

    def started(self, context):
        seen = dict(context.invocation_metadata())
        line = "%s %s %s\n" % (seen["warren-task-id"], seen["warren-run"], seen["warren-attempt"])
        with self._lock:
            self._socket.sendall(line.encode())


def field(number, data):
    """A length-delimited protobuf field of at most 16,383 bytes."""
    length = bytes([len(data)]) if len(data) < 128 else bytes([len(data) & 127 | 128, len(data) >> 7])
    return bytes([number << 3 | 2]) + length + data


def status_details(code, message, reason):
    """A google.rpc.Status with an ErrorInfo: Debian has no package with their code."""
    info = field(1, reason.encode()) + field(2, b"python")
    detail = field(1, b"type.googleapis.com/google.rpc.ErrorInfo") + field(2, info)
    return bytes([8, code]) + field(2, message.encode()) + field(3, detail)


def code_of(number):
    return next(c for c in grpc.StatusCode if c.value[0] == number)


def answer(context):
    """Sends back as headers what has arrived, and trailers of its own."""
    seen = [("seen-" + key, value) for key, value in context.invocation_metadata()]
    if context.time_remaining() is not None:
        seen.append(("seen-deadline-ms", str(int(1000 * context.time_remaining()))))
    context.send_initial_metadata(seen)
    context.set_trailing_metadata(own_trailers())


def own_trailers():
    return [("x-language", "python"), ("x-blob-bin", b"\x00\xff")]


def size_of(png):
    return struct.unpack(">II", png[16:24])


def services(recorder, faults_pb2, faults_grpc, images_pb2, images_grpc):
    """The services, over the modules that were generated for them."""

    class Faults(faults_grpc.FaultServiceServicer):
        def __init__(self):
            self._lock = threading.Lock()
            self._calls = {}

        def Fail(self, request, context):
            recorder.started(context)
            answer(context)
            if request.code == 0:
                return faults_pb2.FailResponse()
            if request.reason:
                details = status_details(request.code, request.message, request.reason)
                context.set_trailing_metadata(own_trailers() + [("grpc-status-details-bin", details)])
            context.abort(code_of(request.code), request.message)

        def FailTimes(self, request, context):
            recorder.started(context)
            with self._lock:
                calls = self._calls[request.key] = self._calls.get(request.key, 0) + 1
            if calls <= request.times:
                context.abort(grpc.StatusCode.UNAVAILABLE, "call %d" % calls)
            return faults_pb2.FailTimesResponse(calls=calls)

        def Panic(self, request, context):
            recorder.started(context)
            raise RuntimeError(request.message)

        def Delay(self, request, context):
            recorder.started(context)
            answer(context)
            time.sleep(request.delay.ToTimedelta().total_seconds())
            return faults_pb2.DelayResponse()

        def Exit(self, request, context):
            recorder.started(context)
            os._exit(request.code)

    class Images(images_grpc.ImageServiceServicer):
        def Thumbnail(self, request, context):
            recorder.started(context)
            width, height = size_of(request.image)
            return images_pb2.ThumbnailResponse(
                image=request.image, format=images_pb2.IMAGE_FORMAT_PNG, width=width, height=height)

        def ContactSheet(self, request, context):
            recorder.started(context)
            answer(context)
            total = len(request.images)
            for placed in range(1, total + 1):
                sheet = request.images[0] if placed == total else b""
                yield images_pb2.ContactSheetResponse(placed=placed, total=total, sheet=sheet)

    return Faults(), Images()


def main():
    flags = argparse.ArgumentParser()
    flags.add_argument("--listen", required=True)
    flags.add_argument("--recorder", required=True)
    flags.add_argument("--generated", required=True, help="folder with the generated code")
    args = flags.parse_args()
    sys.path.insert(0, args.generated)
    from demo.v1 import fault_service_pb2, fault_service_pb2_grpc, image_service_pb2, image_service_pb2_grpc

    faults, images = services(
        Recorder(args.recorder), fault_service_pb2, fault_service_pb2_grpc, image_service_pb2, image_service_pb2_grpc)
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=96))
    fault_service_pb2_grpc.add_FaultServiceServicer_to_server(faults, server)
    image_service_pb2_grpc.add_ImageServiceServicer_to_server(images, server)
    if server.add_insecure_port(args.listen) == 0:
        sys.exit("can't listen on " + args.listen)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
