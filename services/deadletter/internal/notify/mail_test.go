package notify

import (
	"context"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// mailServer speaks SMTP (RFC 5321) as far as a client that only sends needs it.
type mailServer struct {
	net.Listener

	// mute: it says nothing. refuses: it takes nobody.
	mute, refuses bool
	// sessions ends with the last connection.
	sessions sync.WaitGroup

	mu       sync.Mutex
	to       []string
	messages []string
}

func newMailServer(t *testing.T, s *mailServer) *mailServer {
	t.Helper()
	var err error
	s.Listener, err = net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.sessions.Go(func() {
		for {
			conn, err := s.Accept()
			if err != nil {
				return
			}
			s.sessions.Go(func() { s.talk(conn) })
		}
	})
	t.Cleanup(func() {
		s.Close()
		s.sessions.Wait()
	})
	return s
}

func (s *mailServer) talk(conn net.Conn) {
	defer conn.Close()
	c := textproto.NewConn(conn)
	if s.mute {
		_, _ = io.Copy(io.Discard, conn)
		return
	}
	_ = c.PrintfLine("220 test ESMTP")
	for {
		line, err := c.ReadLine()
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO":
			_ = c.PrintfLine("250-test\r\n250-8BITMIME\r\n250 AUTH PLAIN")
		case "AUTH":
			_ = c.PrintfLine("535 5.7.8 %s are no good credentials", rest)
		case "RCPT":
			s.mu.Lock()
			s.to = append(s.to, rest)
			s.mu.Unlock()
			if s.refuses {
				_ = c.PrintfLine("550 nobody of that name")
				continue
			}
			_ = c.PrintfLine("250 OK")
		case "DATA":
			_ = c.PrintfLine("354 go on")
			body, err := io.ReadAll(c.DotReader())
			if err != nil {
				return
			}
			s.mu.Lock()
			s.messages = append(s.messages, string(body))
			s.mu.Unlock()
			_ = c.PrintfLine("250 OK")
		case "QUIT":
			// As some servers do: not a word.
			return
		default:
			_ = c.PrintfLine("250 OK")
		}
	}
}

func (s *mailServer) got() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.messages...)
}

func (s *mailServer) channel(t *testing.T, credentials string) *Channel {
	t.Helper()
	c, err := NewChannel("mail", fmt.Sprintf("smtp://%s%s/?from=warren@example.com&fromName=Warren&to=ann@example.com,bob@example.com\n", credentials, s.Addr()), false)
	require.NoError(t, err)
	require.Equal(t, "smtp", c.Kind())
	return c
}

// watching makes a rule that tells channels of everything of a trigger.
func watching(t *testing.T, s store.Store, trigger store.Trigger, channels ...string) store.Rule {
	t.Helper()
	r, err := s.CreateRule(t.Context(), store.Rule{ID: "watching", Trigger: trigger, Channels: channels}, store.Call{})
	require.NoError(t, err)
	return r
}

// putQuietly stores an arrival that the webhook is not told of.
func putQuietly(t *testing.T, s store.Store, a store.Arrival) {
	t.Helper()
	a.Notify = false
	_, err := s.Put(t.Context(), []store.Arrival{a})
	require.NoError(t, err)
}

func TestMailIsSentOnce(t *testing.T) {
	t.Parallel()
	s, server := openStore(t), newMailServer(t, &mailServer{})
	watching(t, s, store.TriggerDeadLetter, "mail")
	n := serve(t, s, server.channel(t, ""))
	a := arrival(1)
	a.Type = "acme.v1.Größe\r\nBcc: eve@example.com"
	a.Occurrence.Failure.Message = "user 4711 of \"Smith\" is @channel away"
	putQuietly(t, s, a)
	n.Wake()
	brokertest.Eventually(t, patience, func() bool {
		log, err := s.NotificationLog(t.Context(), nil, 0, 1)
		return err == nil && log[0].State == store.NotificationSent
	})
	require.Len(t, server.got(), 1, "one message for both")
	require.Len(t, server.to, 2)
	m, err := mail.ReadMessage(strings.NewReader(server.got()[0]))
	require.NoError(t, err)
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	require.NoError(t, err)
	require.Equal(t, "[Warren] dead letter: acme.v1.Größe Bcc: eve@\u200bexample.com ATTEMPTS_EXHAUSTED UNAVAILABLE", subject)
	require.Empty(t, m.Header.Get("Bcc"))
	require.NotEmpty(t, m.Header.Get("Message-Id"))
	body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	require.NoError(t, err)
	for _, want := range []string{"Code: UNAVAILABLE", "user <num> of <text> is @\u200bchannel away", `grpcurl -plaintext -d '{"dead_letter_id": "` + a.ID + `"}'`} {
		require.Contains(t, string(body), want)
	}
	for _, private := range []string{"4711", "Smith", "secret payload", "private", "detail"} {
		require.NotContains(t, string(body), private)
	}
}

func TestMailEndsWithItsContext(t *testing.T) {
	t.Parallel()
	server := newMailServer(t, &mailServer{mute: true})
	c := server.channel(t, "")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.Error(t, c.out.send(ctx, testMessage("", time.Now())))
	server.Close()
	// No connection is left behind.
	server.sessions.Wait()
}

func TestMailThatIsRefused(t *testing.T) {
	t.Parallel()
	server := newMailServer(t, &mailServer{refuses: true})
	require.ErrorContains(t, server.channel(t, "").out.send(t.Context(), testMessage("", time.Now())), "550")
	require.Empty(t, server.got())
	server.Close()
	// No connection is left behind.
	server.sessions.Wait()
}

func TestMailHidesThePassword(t *testing.T) {
	t.Parallel()
	server := newMailServer(t, &mailServer{})
	c := server.channel(t, url.UserPassword("ann", "Tr0ub4dor&3").String()+"@")
	err := c.out.send(t.Context(), testMessage("", time.Now()))
	require.ErrorContains(t, err, "535")
	require.NotContains(t, err.Error(), "Tr0ub4dor")
	// base64 of \x00ann\x00Tr0ub4dor&3
	require.NotContains(t, err.Error(), "AGFubgBUcjB1YjRkb3ImMw==")
	server.Close()
	server.sessions.Wait()
}

func TestMailBeyondThisMachineIsEncrypted(t *testing.T) {
	t.Parallel()
	const addresses = "?from=a@example.com&to=b@example.com"
	for text, want := range map[string]bool{
		"smtp://u:p@mail.example.com:587/" + addresses:                         true,
		"smtp://u:p@mail.example.com:465/" + addresses:                         true,
		"smtp://u:p@mail.example.com/" + addresses + "&starttls=no":            false,
		"smtp://u:p@mail.example.com/" + addresses + "&encryption=None":        false,
		"smtp://u:p@mail.example.com/" + addresses + "&skiptlsverify=yes":      false,
		"smtp://u:p@127.0.0.1/" + addresses + "&starttls=no":                   true,
		"smtp://u:p@mail.example.com/?from=a@example.com":                      false,
		"smtp://u:p@mail.example.com/?from=a@example.com&to=not-an-address":    false,
		"smtp://u:p@mail.example.com/?from=a@example.com&to=b@c&colour=purple": false,
	} {
		_, err := NewChannel("mail", text, false)
		require.Equal(t, want, err == nil, "%s: %v", text, err)
	}
	c, err := NewChannel("mail", "smtp://u:p@mail.example.com:587/"+addresses, false)
	require.NoError(t, err)
	require.Equal(t, "TLSMandatory", c.out.(*smtpMail).policy().String())
}
