// Package catalogue keeps the task types that a Warren installation knows, with
// the protobuf descriptors that define them.
//
// A worker calls [Collect] to put the descriptors of its services into an
// [Announcement]. A gateway turns one into a [Bundle] with [Build], which trusts
// nothing in it, and adds that to its [Catalogue] with [Catalogue.Put]. The
// catalogue then answers which task types exist, whether a new version of them goes
// with the one in force ([Catalogue.Compare]), whether a payload is decodable as the
// input of one and keeps its rules (buf.validate, predefined ones included), what type a google.protobuf.Any holds, and gRPC
// reflection requests.
//
// # Names
//
// A bundle counts by the latest start of a program that announced it. Each
// service, and each task type, is defined by the newest of the bundles that have
// it. So a method that a newer version of a service lacks stays a task type as
// the older version defines it, and a bundle stays as long as anything is defined
// by it. Versions side by side do not take turns: a worker that announces its
// services again, because it or the gateway had lost the connection, changes
// nothing. Only a worker that starts does, which is how going back to an older
// version takes effect. Starts are by the clocks of the workers' hosts.
//
// Messages, enums and extensions belong to their bundle, each of which is a world
// of its own, so two bundles may define the same name, or the same file,
// differently. What starts from a task type ([TaskType.Validate],
// [TaskType.Resolver]) sees the definitions of that type's bundle. What starts
// from a bare name ([Catalogue.Resolver], reflection) sees the types linked into
// the process first, then those of the bundles that define a service, ordered by
// the first service that each defines, then those of the others, the newest
// first.
//
// None of this depends on the order in which bundles arrive, so all gateways and
// each restart answer alike.
package catalogue
