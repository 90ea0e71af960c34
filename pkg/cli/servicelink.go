package cli

import (
	"regexp"
	"slices"
	"strings"
)

// linkHost ends the name of the variable that each service link has.
const linkHost = "_SERVICE_HOST"

// linkRest is what a service link's variables have after the service's name.
var linkRest = regexp.MustCompile(`^_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// isServiceLink says whether a variable is one of those that Kubernetes gives
// each container for each Service of its namespace, and so for one called warren
// or warren-gateway: they are nobody's settings. They come together, so that a
// misspelt setting is not taken for one.
// https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
func isServiceLink(key string, all []string) bool {
	return slices.ContainsFunc(all, func(other string) bool {
		service, ok := strings.CutSuffix(other, linkHost)
		rest, of := strings.CutPrefix(key, service)
		return ok && of && linkRest.MatchString(rest)
	})
}
