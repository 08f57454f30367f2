package notify

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/alert"
)

// letters are what a receiver of HTTP or email has got.
type letters struct {
	mu  sync.Mutex
	got []string
}

func (l *letters) add(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.got = append(l.got, text)
}

func (l *letters) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	got := l.got
	l.got = nil
	return got
}

// webhookServer takes what the service generic posts. It keeps no connection: one that is
// idle is something that a bubble's time would wait for.
func webhookServer(t *testing.T, l net.Listener, into *letters) *httptest.Server {
	t.Helper()
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		into.add(string(text))
	})}}
	s.Config.SetKeepAlivesEnabled(false)
	s.Start()
	return s
}

// mailServer is as much of SMTP as a sender without a name needs.
func mailServer(t *testing.T, into *letters) (address string) {
	t.Helper()
	l := listen(t, "127.0.0.1:0")
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go receiveMail(c, into)
		}
	}()
	return l.Addr().String()
}

func receiveMail(c net.Conn, into *letters) {
	defer c.Close()
	in := bufio.NewScanner(c)
	fmt.Fprint(c, "220 mail.example.com ESMTP\r\n")
	for in.Scan() {
		switch verb := strings.ToUpper(strings.Fields(in.Text() + " x")[0]); verb {
		case "DATA":
			fmt.Fprint(c, "354 go on\r\n")
			var text strings.Builder
			for in.Scan() && in.Text() != "." {
				text.WriteString(in.Text() + "\n")
			}
			into.add(text.String())
			fmt.Fprint(c, "250 taken\r\n")
		case "QUIT":
			fmt.Fprint(c, "221 bye\r\n")
			return
		default:
			fmt.Fprint(c, "250 well\r\n")
		}
	}
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestDelivery: a webhook and a mailbox get the begin and the end of a condition once, and,
// with the webhook away for an hour, the mailbox at once and the webhook when it is back.
func TestDelivery(t *testing.T) {
	var posted, mailed letters
	l := listen(t, "127.0.0.1:0")
	address := l.Addr().String()
	receiver := webhookServer(t, l, &posted)
	mail := mailServer(t, &mailed)
	services := []alert.Receiver{
		New("alerts.urls[0]", "generic+http://"+address+"/hook/s3cr3t-path"),
		New("alerts.urls[1]", "smtp://"+mail+"/?from=bridge@example.com&to=ops@example.com&auth=None&encryption=None&usestarttls=no"),
	}
	// The webhook goes and comes outside the bubble, whose time would wait for its sockets.
	commands, done := make(chan func()), make(chan struct{})
	go func() {
		for f := range commands {
			f()
			done <- struct{}{}
		}
	}()
	outside := func(f func()) { commands <- f; <-done }
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		state := alert.State{Status: bridge.Status{Accepting: true, NATS: bridge.Link{Up: true}}}
		set := func(change func(*alert.State)) { mu.Lock(); defer mu.Unlock(); change(&state) }
		notices := make(map[string]string)
		a, err := alert.New(alert.Options{Receivers: services, Bridge: "host", Look: func() alert.State {
			mu.Lock()
			defer mu.Unlock()
			return state
		}, Notice: func(about, text string) { mu.Lock(); defer mu.Unlock(); notices[about] = text }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { a.Run(ctx); close(ended) }()

		away := func(s *alert.State) { s.NATS.Up, s.Pending = false, 7 }
		back := func(s *alert.State) { s.NATS.Up, s.Pending = true, 0 }
		expect := func(when string, l *letters, want ...string) {
			t.Helper()
			got := l.take()
			if len(got) != len(want) {
				t.Errorf("%s: got %q, want %d messages", when, got, len(want))
				return
			}
			for i := range want {
				if !strings.Contains(got[i], want[i]) {
					t.Errorf("%s: got %q, want %q in it", when, got[i], want[i])
				}
			}
		}
		set(away)
		time.Sleep(30 * time.Minute)
		set(back)
		time.Sleep(30 * time.Minute)
		expect("the webhook", &posted, "7 events wait on disk", "over: connected to NATS again")
		expect("the mailbox", &mailed, "Subject: persat-bridge host: no connection to NATS", "over: connected to NATS again")

		outside(func() { receiver.Close() })
		set(away)
		time.Sleep(30 * time.Minute)
		set(back)
		time.Sleep(30 * time.Minute)
		expect("the webhook, away", &posted)
		expect("the mailbox meanwhile", &mailed, "7 events wait on disk", "over: connected to NATS again")
		mu.Lock()
		if text := notices["alerts alerts.urls[0] (generic)"]; !strings.Contains(text, "connection refused") || strings.Contains(text, "s3cr3t-path") {
			t.Errorf("the page says %q, want why, and no secret", text)
		}
		mu.Unlock()
		outside(func() { receiver = webhookServer(t, listen(t, address), &posted) })
		time.Sleep(10 * time.Minute)
		expect("the webhook, back", &posted, "7 events wait on disk", "over: connected to NATS again")
		stop()
		<-ended
	})
	outside(func() { receiver.Close() })
	close(commands)
}

func TestCheck(t *testing.T) {
	for url, want := range map[string]string{
		"ntfy://ntfy.sh/topic":          "",
		"generic+https://example.com/x": "",
		"generic://example.com/x":       "",
		"slack://hook:WNA3PBYV6-F20DUQND3RQ-Webc4MAvoacrpPakR8phF0zi@webhook":                          "",
		"smtp://user:password@mail.example.com:587/?from=a@example.com&to=b@example.com,c@example.com": "",
		"https://hooks.example.com/s3cr3t":                                                             `"https" is no service`,
		"no url at all":                                                                                "not a URL of shoutrrr",
		"telegram://":                                                                                  "not a whole URL of telegram",
		"slack://s3cr3t-token":                                                                         "not a whole URL of slack",
	} {
		err := Check(url)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: got %v, want none", url, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: got %v, want %q", url, err, want)
		case err != nil && strings.Contains(err.Error(), "s3cr3t"):
			t.Errorf("%s: %v has the secret", url, err)
		}
	}
}

// No service's failure has a part of its URL that may be a secret.
func TestNoSecretsInErrors(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	address := l.Addr().String()
	l.Close() // nobody listens there
	for _, url := range []string{
		"generic+http://" + address + "/s3cr3t-path?token=s3cr3t-query",
		"ntfy://user:s3cr3t-password@" + address + "/s3cr3t-topic?scheme=http",
		"gotify://" + address + "/As3cr3t.tokenn?disabletls=yes",
		"smtp://user:s3cr3t-password@" + address + "/?from=a@example.com&to=b@example.com",
		"mattermost://" + address + "/s3cr3t-token?disabletls=yes",
		"matrix://user:s3cr3t-password@" + address + "/?disabletls=yes",
		"rocketchat://" + address + "/s3cr3ttokena/s3cr3ttokenb",
	} {
		service := New("alerts.urls[0]", url)
		err := service.Send(alert.Message{Subject: "test", Text: "test"})
		if err == nil {
			t.Errorf("%s: delivered to nobody", url)
			continue
		}
		if strings.Contains(err.Error(), "s3cr3t") || strings.Contains(service.Name(), "s3cr3t") {
			t.Errorf("%s: %v has a secret", url, err)
		}
	}
}

// TestScrub: no way in which a service may write a part of its URL passes.
func TestScrub(t *testing.T) {
	const text = "dial mail.example.com:587: refused with "
	for _, c := range []struct {
		name, url, says string
		hidden          []string
		shown           string
	}{
		{"as it is", "smtp://user:s3cr3t-word@mail/?x=y", "s3cr3t-word for user", []string{"s3cr3t"}, "for user"},
		{"a short password", "smtp://user:pw9@mail/", `535 "user" "pw9" wrong: pw9.`, []string{"pw9"}, "535"},
		{"a short password in no word", "smtp://user:et@mail/", "bracket et tet", []string{" et "}, "bracket <secret> tet"},
		{"a password of five characters", "smtp://user:abc12@mail/", "xabc12x", []string{"abc12"}, ""},
		{"encoded in the URL, decoded in the error", "smtp://user:p%40ss%2Fw@mail/", "p@ss/w", []string{"p@ss", "ss/w"}, ""},
		{"the same, lower case", "smtp://user:p%40ss%2Fw@mail/", "p%40ss%2fw", []string{"ss%2"}, ""},
		{"plain in the URL, encoded in the error", "smtp://user:p!ss w@mail/", "p%21ss%20w or p%21ss+w", []string{"ss%20w", "ss+w"}, ""},
		{"in another case", "smtp://user:PaSsWo@mail/", "passwo PASSWO", []string{"passwo", "PASSWO"}, ""},
		{"in base64", "smtp://user:pw9@mail/", "AUTH PLAIN cHc5 dXNlcjpwdzk=", []string{"cHc5", "dXNlcjpwdzk"}, "AUTH PLAIN"},
		{"a password with a slash", "smtp://user:a/b@c:d@mail/", "a/b@c:d", []string{"a/b", "c:d"}, ""},
		{"a token as a parameter", "generic+https://host/x?token=ab1&auth=None", "token ab1, auth None", []string{"ab1"}, "auth None"},
		{"in quotes", `smtp://user:a"b\c%22d@mail/`, `"a\"b\\c\"d"`, []string{`b\\c`}, ""},
		{"a path", "slack://hook:WNA3PBYV6-F20DUQND3RQ-Webc4MAvoacrpPakR8phF0zi@webhook", "WNA3PBYV6-F20DUQND3RQ-Webc4MAvoacrpPakR8phF0zi", []string{"WNA3PBYV6", "Webc4MAv"}, ""},
		{"a URL of another", "generic+https://host/x", "https://other.example.com/y?z=1 failed", []string{"other.example.com"}, "failed"},
		{"the mask itself", "smtp://user:secret@mail/", "secret", []string{"<<"}, "<secret>"},
		{"what is no secret", "smtp://user:s3cr3t-word@mail:587/?usestarttls=yes", "port 587 says yes", nil, "port 587 says yes"},
	} {
		got := scrub(errors.New(text+c.says), c.url).Error()
		for _, part := range c.hidden {
			if strings.Contains(got, part) {
				t.Errorf("%s: %q has %q", c.name, got, part)
			}
		}
		if !strings.Contains(got, c.shown) || !strings.HasPrefix(got, "dial ") {
			t.Errorf("%s: got %q, want %q in it", c.name, got, c.shown)
		}
	}
}
