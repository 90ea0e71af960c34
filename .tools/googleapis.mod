module github.com/warrenmq/warren/tools/googleapis

go 1.26.8

require github.com/grpc-ecosystem/grpc-gateway v1.16.0
