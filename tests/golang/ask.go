package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
)

// step is an answer as the client saw it.
type step struct {
	Name    string      `json:"name"`
	Status  string      `json:"status"`
	Proto   string      `json:"proto"`
	Header  http.Header `json:"header"`
	Length  int64       `json:"length"`
	Coding  []string    `json:"coding"`
	Bytes   int         `json:"bytes"`
	Digest  string      `json:"digest"`
	Trailer http.Header `json:"trailer"`
	Interim []string    `json:"interim"`
	Reused  bool        `json:"reused"`
	Sent    int64       `json:"sent"`
	Error   string      `json:"error"`
}

// client talks to one address, whatever the URL's host is.
type client struct {
	transport http.RoundTripper
	host      string
}

func ask(address, host, play string) error {
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	c := client{host: host}
	// Minutes: a client that gives up waiting for the 100 sends its body, and the test would not see that none came.
	one := &http.Transport{DialContext: dial, ExpectContinueTimeout: 5 * time.Minute, DisableCompression: true}
	two := &http2.Transport{AllowHTTP: true, DialTLSContext: func(ctx context.Context, network, to string, _ *tls.Config) (net.Conn, error) {
		return dial(ctx, network, to)
	}}
	if strings.HasPrefix(play, "h2-") {
		c.transport = two
		play = strings.TrimPrefix(play, "h2-")
	} else {
		c.transport = one
	}
	switch play {
	case "keep-alive":
		return c.keepAlive()
	case "bodies":
		return c.bodies()
	case "trailers":
		return c.trailers()
	case "expect":
		return c.expect()
	case "parallel":
		return c.parallel()
	}
	return fmt.Errorf("no play of that name: %s", play)
}

func (c *client) keepAlive() error {
	for _, path := range []string{"/", "/cookies", "/bytes/100000", "/stream/3", "/status/204", "/status/304", "/close", "/after"} {
		c.do(path, http.MethodGet, path, nil, nil)
	}
	c.do("head", http.MethodHead, "/bytes/1000", nil, nil)
	c.do("options", http.MethodOptions, "/", nil, nil)
	c.do("unknown method", "BREW", "/status/418", nil, nil)
	return nil
}

func (c *client) bodies() error {
	for _, length := range []int{0, 1, 65536, 3 << 20} {
		body := noise(length)
		c.do(fmt.Sprint("length ", length), http.MethodPost, "/echo", bytes.NewReader(body), nil)
		// A reader without a length: chunked in HTTP/1.
		c.do(fmt.Sprint("unknown ", length), http.MethodPut, "/echo", io.MultiReader(bytes.NewReader(body)), nil)
	}
	return nil
}

func (c *client) trailers() error {
	c.do("answer", http.MethodGet, "/trailers", nil, nil)
	body := &ending{Reader: bytes.NewReader(noise(5000))}
	c.do("both", http.MethodPost, "/trailers", body, func(r *http.Request) {
		r.Trailer = http.Header{"X-Late": nil, "X-Later": nil}
		body.end = func() {
			r.Trailer.Set("X-Late", "digest="+digest(noise(5000)))
			r.Trailer.Set("X-Later", "1")
		}
	})
	return nil
}

func (c *client) expect() error {
	for _, path := range []string{"/echo", "/refuse", "/early"} {
		c.do(path, http.MethodPost, path, bytes.NewReader(noise(70000)), func(r *http.Request) {
			r.Header.Set("Expect", "100-continue")
		})
	}
	return nil
}

// parallel has requests in flight together; what it prints is in the order of their numbers.
func (c *client) parallel() error {
	done := make([]chan step, 20)
	for i := range done {
		done[i] = make(chan step, 1)
		go func(i int) {
			body := io.MultiReader(bytes.NewReader(noise(1000 * (i + 1))))
			done[i] <- c.once(fmt.Sprint(i), http.MethodPost, fmt.Sprintf("/echo/%d", i), body, nil)
		}(i)
	}
	for _, one := range done {
		s := <-one
		s.Reused = false
		tell(s)
	}
	return nil
}

func (c *client) do(name, method, path string, body io.Reader, prepare func(*http.Request)) {
	tell(c.once(name, method, path, body, prepare))
}

func (c *client) once(name, method, path string, body io.Reader, prepare func(*http.Request)) step {
	s := step{Name: name}
	trace := &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { s.Reused = info.Reused },
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			s.Interim = append(s.Interim, fmt.Sprint(code, " ", header.Get("Link")))
			return nil
		},
	}
	request, err := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), trace), method, "http://"+c.host+path, body)
	if err == nil {
		if prepare != nil {
			prepare(request)
		}
		body := &counting{ReadCloser: request.Body}
		if request.Body != nil && request.Body != http.NoBody {
			request.Body = body
		}
		err = c.exchange(request, &s)
		s.Sent = atomic.LoadInt64(&body.count)
	}
	if err != nil {
		s.Error = err.Error()
	}
	return s
}

func (c *client) exchange(request *http.Request, s *step) error {
	answer, err := c.transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	s.Status, s.Proto, s.Header, s.Length, s.Coding = answer.Status, answer.Proto, answer.Header, answer.ContentLength, answer.TransferEncoding
	s.Bytes, s.Digest, s.Trailer = len(body), digest(body), answer.Trailer
	s.Header.Del("Date")
	return err
}

// counting counts what was read of a body: a client that was told not to send it reads nothing.
type counting struct {
	io.ReadCloser
	count int64
}

func (c *counting) Read(into []byte) (int, error) {
	n, err := c.ReadCloser.Read(into)
	atomic.AddInt64(&c.count, int64(n))
	return n, err
}

// ending calls a function once its reader is at its end.
type ending struct {
	io.Reader
	end func()
}

func (e *ending) Read(into []byte) (int, error) {
	n, err := e.Reader.Read(into)
	if err == io.EOF {
		e.end()
	}
	return n, err
}
