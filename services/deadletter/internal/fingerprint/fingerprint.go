package fingerprint

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/code"

	"github.com/warrenmq/warren/pkg/task"
)

// Version is that of the rules. It grows when a failure may get another fingerprint.
const Version = 1

// MaxMessage is how much of a message counts, in bytes.
const MaxMessage = 64 << 10

// idBytes is how much of the sum names the group.
const idBytes = 16

// Input is a failure.
type Input struct {
	// Type is the task type; of a message that is no task, its routing key.
	Type  string
	Cause task.Cause
	// Code is a google.rpc.Code; 0 without a failure.
	Code int
	// Domain and Reason are those of the failure's google.rpc.ErrorInfo.
	Domain, Reason string
	// Custom is the handler's own fingerprint, or empty.
	Custom string
	// Message is the failure's. What of the texts is not UTF-8, and NUL, counts as
	// U+FFFD, as which it is stored.
	Message string
}

// Fingerprint says what a failure has in common with others.
type Fingerprint struct {
	// Sum is the SHA-256 of its parts.
	Sum [sha256.Size]byte
	// Message is the message normalized.
	Message string
}

// GroupID names the group of all failures with the fingerprint: the first 16 bytes of
// the sum in hexadecimal.
func (f Fingerprint) GroupID() string { return hex.EncodeToString(f.Sum[:idBytes]) }

// Part is a part of what is hashed.
type Part struct {
	Name, Value string
	// Source says where it comes from, for people.
	Source string
}

// Explanation says how a fingerprint comes about.
type Explanation struct {
	Fingerprint

	// Parts are hashed in this order, each as its name and its value, each of which
	// follows its length in bytes as a big-endian number of 32 bits.
	Parts []Part
	// Replacements are what the placeholders of the message stand for, in the order of
	// the text; none if the message is no part.
	Replacements []Replacement
}

// Of is the fingerprint of a failure.
func Of(in Input) Fingerprint {
	in = in.clean()
	s := scanner{text: bounded(in.Message)}
	message := s.normalize()
	return Fingerprint{Sum: sum(in.parts(message)), Message: message}
}

// Explain says how the fingerprint of a failure comes about.
func Explain(in Input) Explanation {
	in = in.clean()
	s := scanner{text: bounded(in.Message), explain: true}
	message := s.normalize()
	parts := in.parts(message)
	e := Explanation{Fingerprint: Fingerprint{Sum: sum(parts), Message: message}, Parts: parts}
	if in.Custom == "" {
		e.Replacements = s.replaced
	}
	return e
}

// Normalize is a message with placeholders for what differs from one to the next.
func Normalize(message string) string {
	s := scanner{text: bounded(clean(message))}
	return s.normalize()
}

func (in Input) parts(message string) []Part {
	parts := []Part{
		{"version", strconv.Itoa(Version), "the rules' version"},
		{"type", in.Type, "the task type, or a message's routing key"},
	}
	if in.Custom != "" {
		return append(parts, Part{"fingerprint", in.Custom, "the handler's own, from the ErrorInfo's metadata"})
	}
	return append(
		parts,
		Part{"cause", in.Cause.String(), "why it was given up"},
		Part{"code", codeName(in.Code), "the failure's code"},
		Part{"domain", in.Domain, "the domain of the failure's ErrorInfo"},
		Part{"reason", in.Reason, "the reason of the failure's ErrorInfo"},
		Part{"message", message, "the failure's message with placeholders"},
	)
}

func codeName(c int) string {
	if name, ok := code.Code_name[int32(c)]; ok {
		return name
	}
	return strconv.Itoa(c)
}

func sum(parts []Part) (out [sha256.Size]byte) {
	h := sha256.New()
	for _, p := range parts {
		write(h, p.Name)
		write(h, p.Value)
	}
	h.Sum(out[:0])
	return out
}

func write(h hash.Hash, s string) {
	var size [4]byte
	binary.BigEndian.PutUint32(size[:], uint32(len(s)))
	_, _ = h.Write(size[:])
	_, _ = h.Write([]byte(s))
}

func (in Input) clean() Input {
	in.Type, in.Domain, in.Reason = clean(in.Type), clean(in.Domain), clean(in.Reason)
	in.Custom, in.Message = clean(in.Custom), clean(in.Message)
	return in
}

// clean is a text as a store keeps it.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// bounded cuts a message where a character begins.
func bounded(s string) string {
	if len(s) <= MaxMessage {
		return s
	}
	end := MaxMessage
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}
