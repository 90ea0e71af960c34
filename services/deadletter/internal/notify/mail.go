package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/nicholas-fedor/shoutrrr/pkg/services/email/smtp"
	"github.com/wneessen/go-mail"

	"github.com/warrenmq/warren/pkg/rpc"
)

// kindMail is the scheme of the URLs of e-mail.
const kindMail = smtp.Scheme

// mailSenders bounds the connections to a mail server.
const mailSenders = 2

// smtpMail sends e-mail. Its configuration is shoutrrr's; go-mail sends, since it ends with
// its context, closes its connections, and encodes headers.
type smtpMail struct {
	config *smtp.Config
	plain  bool
	hidden scrubber
}

// newMail takes a URL as shoutrrr describes it. A server on another machine must offer
// STARTTLS or TLS, unless insecure.
func newMail(u *url.URL, insecure bool) (*smtpMail, error) {
	service := &smtp.Service{}
	password, _ := u.User.Password()
	// A server may answer with what it was given: RFC 4616, and XOAUTH2.
	m := &smtpMail{plain: insecure || rpc.IsLoopback(u.Hostname()), hidden: scrubberOfTexts(
		password, "\x00"+u.User.Username()+"\x00"+password, "user="+u.User.Username()+"\x01auth=Bearer "+password+"\x01\x01",
	)}
	if err := service.Initialize(u, nil); err != nil {
		// It may name any part of the URL.
		return nil, fmt.Errorf("its URL is not smtp://USER:PASSWORD@HOST:PORT/?from=ADDRESS&to=ADDRESS,ADDRESS: %s", scrubberOf(u).clean(err))
	}
	m.config = service.Config
	m.config.FixEmailTags()
	if m.config.SkipTLSVerify {
		return nil, errors.New("skiptlsverify is not supported; have the mail server's certificate trusted by this machine")
	}
	if m.config.Host == "" {
		return nil, errors.New("its URL has no host")
	}
	if !m.plain && !m.implicitTLS() && (!m.config.UseStartTLS || m.config.Encryption == smtp.EncMethods.None) {
		return nil, errPlain
	}
	if _, err := m.compose(&message{id: "id", title: "title", text: "text"}, time.Now()); err != nil {
		return nil, fmt.Errorf("from or to: %s", m.hidden.clean(err))
	}
	return m, nil
}

// compose makes the e-mail. Its Message-ID is the same in each attempt.
func (m *smtpMail) compose(x *message, now time.Time) (*mail.Msg, error) {
	msg := mail.NewMsg(mail.WithNoDefaultUserAgent())
	if err := msg.FromFormat(m.config.FromName, m.config.FromAddress); err != nil {
		return nil, err
	}
	if err := msg.To(m.config.ToAddresses...); err != nil {
		return nil, err
	}
	msg.Subject(x.title)
	msg.SetDateWithValue(now)
	msg.SetMessageIDWithValue(x.id + "@warren")
	msg.SetBodyString(mail.TypeTextPlain, x.text+"\n")
	return msg, nil
}

func (m *smtpMail) send(ctx context.Context, x *message) error {
	msg, err := m.compose(x, time.Now())
	if err == nil {
		err = m.dialAndSend(ctx, msg)
	}
	if err != nil {
		return errors.New(m.hidden.clean(err))
	}
	return nil
}

// dialAndSend ends with ctx at any point, and leaves no connection behind.
func (m *smtpMail) dialAndSend(ctx context.Context, msg *mail.Msg) error {
	hangUp := func() {}
	defer func() { hangUp() }()
	options := append(m.options(), mail.WithDialContextFunc(func(dialing context.Context, network, address string) (net.Conn, error) {
		conn, err := m.dial(dialing, network, address)
		if err != nil {
			return nil, err
		}
		// What is said after the connection was made takes no context.
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		hangUp = func() {
			stop()
			conn.Close()
		}
		return conn, nil
	}))
	client, err := mail.NewClient(m.config.Host, options...)
	if err != nil {
		return err
	}
	session, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return err
	}
	if err := client.SendWithSMTPClient(session, msg); err != nil {
		return err
	}
	// It was taken. Some servers hang up without a word.
	_ = session.Quit()
	return nil
}

func (m *smtpMail) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if m.implicitTLS() {
		return (&tls.Dialer{Config: &tls.Config{ServerName: m.config.Host, MinVersion: tls.VersionTLS12}}).DialContext(ctx, network, address)
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

func (m *smtpMail) options() []mail.Option {
	options := []mail.Option{
		mail.WithPort(int(m.config.Port)), mail.WithTimeout(sendTimeout), mail.WithTLSPolicy(m.policy()), mail.WithHELO(m.hostname()),
		mail.WithoutNoop(),
	}
	var auth mail.SMTPAuthType
	switch m.config.Auth {
	case smtp.AuthTypes.Plain:
		auth = mail.SMTPAuthPlain
	case smtp.AuthTypes.CRAMMD5:
		auth = mail.SMTPAuthCramMD5
	case smtp.AuthTypes.OAuth2:
		auth = mail.SMTPAuthXOAUTH2
	default:
		return options
	}
	return append(options, mail.WithSMTPAuth(auth), mail.WithUsername(m.config.Username), mail.WithPassword(m.config.Password))
}

func (m *smtpMail) hostname() string {
	if host, err := os.Hostname(); m.config.ClientHost == "auto" && err == nil {
		return host
	}
	return m.config.ClientHost
}

func (m *smtpMail) implicitTLS() bool {
	const port = 465 // RFC 8314
	e := m.config.Encryption
	return e == smtp.EncMethods.ImplicitTLS || e == smtp.EncMethods.Auto && m.config.Port == port
}

// policy is that of STARTTLS.
func (m *smtpMail) policy() mail.TLSPolicy {
	c := m.config
	switch {
	case m.implicitTLS():
		return mail.NoTLS
	case !m.plain || c.RequireStartTLS || c.Encryption == smtp.EncMethods.ExplicitTLS:
		return mail.TLSMandatory
	case !c.UseStartTLS || c.Encryption == smtp.EncMethods.None:
		return mail.NoTLS
	}
	return mail.TLSOpportunistic
}

// close does nothing: each attempt has a connection of its own.
func (m *smtpMail) close() {}
