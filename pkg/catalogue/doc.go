// Package catalogue keeps the task types that a Warren installation knows, with
// the protobuf descriptors that define them.
//
// A worker calls [Collect] to put the descriptors of its services into an
// [Announcement]. A gateway turns one into a [Bundle] with [Build], which trusts
// nothing in it, and adds that to its [Catalogue] with [Catalogue.Put]. The
// catalogue then answers which task types exist, whether a payload is decodable
// as the input of one, what type a google.protobuf.Any holds, and gRPC
// reflection requests.
//
// # Names
//
// A service belongs to one bundle: the one that was put last. Messages, enums
// and extensions belong to their bundle, each of which is a world of its own, so
// two bundles may define the same name, or the same file, differently. What
// starts from a task type ([TaskType.Validate], [TaskType.Resolver]) sees the
// definitions of that type's bundle. What starts from a bare name
// ([Catalogue.Resolver], reflection) sees the types linked into the process
// first, then those of the bundles, ordered by the first service that each owns:
// an order that does not depend on who announced first, so that all gateways and
// each restart answer alike.
package catalogue
