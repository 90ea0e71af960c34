package e2e

import (
	"os/exec"
	"testing"
)

// What has Python's gRPC and protoc's plug-in for it.
const pythonPackages = "Debian: python3-grpcio python3-protobuf protobuf-compiler protobuf-compiler-grpc"

// startPython starts the server in Python, over code that is generated for it.
func startPython(t testing.TB, p *platform, address string) *process {
	t.Helper()
	return startProcess(t, "target-python", p.env, python(t),
		"polyglot/python/server.py", "--listen", address, "--recorder", p.recorder.address(), "--generated", pythonCode(t))
}

// python is an interpreter that has gRPC: the system's, if there are several.
func python(t testing.TB) string {
	t.Helper()
	for _, candidate := range []string{"/usr/bin/python3", "python3"} {
		path, err := exec.LookPath(candidate)
		if err == nil && exec.CommandContext(t.Context(), path, "-c", "import grpc, google.protobuf").Run() == nil {
			return path
		}
	}
	lacking(t, "no python3 has grpc and google.protobuf (%s)", pythonPackages)
	return ""
}

// pythonCode is a folder with the code that protoc generates from the demo
// services and what they import.
func pythonCode(t testing.TB) string {
	t.Helper()
	protoc, plugin := tool(t, "protoc", pythonPackages), tool(t, "grpc_python_plugin", pythonPackages)
	folder := t.TempDir()
	output(t, exec.CommandContext(t.Context(), protoc,
		"--descriptor_set_in="+descriptorSet(t), "--plugin=protoc-gen-grpc_python="+plugin,
		"--python_out="+folder, "--grpc_python_out="+folder,
		"demo/v1/fault_service.proto", "demo/v1/image_service.proto",
		"warren/task/v1/options.proto", "warren/task/v1/task.proto", "buf/validate/validate.proto"))
	return folder
}
