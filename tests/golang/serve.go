package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"
)

// seen is a request as the server saw it, body and trailers included.
type seen struct {
	From    string      `json:"from"`
	Method  string      `json:"method"`
	Target  string      `json:"target"`
	Proto   string      `json:"proto"`
	Host    string      `json:"host"`
	Header  http.Header `json:"header"`
	Length  int64       `json:"length"`
	Coding  []string    `json:"coding"`
	Bytes   int64       `json:"bytes"`
	Digest  string      `json:"digest"`
	Trailer http.Header `json:"trailer"`
	Error   string      `json:"error"`
}

// serve speaks HTTP/1 and h2c, by prior knowledge and by upgrade. It says so on stderr once it listens.
func serve(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "listening")
	server := &http.Server{Handler: h2c.NewHandler(http.HandlerFunc(handle), &http2.Server{})}
	return server.Serve(listener)
}

func handle(w http.ResponseWriter, r *http.Request) {
	path := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch path[0] {
	case "refuse":
		// Answered before the body was asked for: with Expect, the client need not send it.
		w.WriteHeader(http.StatusExpectationFailed)
		note(r, nil, nil)
		return
	case "early":
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
	}
	body, err := io.ReadAll(r.Body)
	note(r, body, err)
	switch path[0] {
	case "echo":
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Write(body)
	case "trailers":
		// One announced and one not (RFC 9110, 6.6.2: announcing is only a SHOULD).
		w.Header().Set("Trailer", "X-Digest")
		io.WriteString(w, "a body with trailers\n")
		w.(http.Flusher).Flush()
		w.Header().Set("X-Digest", digest(body))
		w.Header().Set(http.TrailerPrefix+"X-Unannounced", "too")
		for name, values := range r.Trailer {
			w.Header()[http.TrailerPrefix+"X-Echo-"+name] = values
		}
	case "stream":
		for part := 0; part < number(path); part++ {
			fmt.Fprintf(w, "part %d\n", part)
			w.(http.Flusher).Flush()
		}
	case "bytes":
		w.Write(noise(number(path)))
	case "status":
		w.WriteHeader(number(path))
	case "cookies":
		w.Header()["Set-Cookie"] = []string{"a=1; Path=/", "b=2; Secure", "a=3"}
		w.Header()["X-Odd"] = []string{"", "two  blanks", "caf\xc3\xa9"}
		io.WriteString(w, "ok\n")
	case "close":
		w.Header().Set("Connection", "close")
		io.WriteString(w, "bye\n")
	default:
		io.WriteString(w, "hello\n")
	}
}

func note(r *http.Request, body []byte, err error) {
	from, _, _ := net.SplitHostPort(r.RemoteAddr)
	entry := seen{
		From: from, Method: r.Method, Target: r.RequestURI, Proto: r.Proto, Host: r.Host, Header: r.Header,
		Length: r.ContentLength, Coding: r.TransferEncoding, Bytes: int64(len(body)), Digest: digest(body), Trailer: r.Trailer,
	}
	if err != nil {
		entry.Error = err.Error()
	}
	tell(entry)
}

func number(path []string) int {
	if len(path) < 2 {
		return 0
	}
	value, _ := strconv.Atoi(path[1])
	return value
}

func digest(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:8])
}

// noise looks random and is the same each time, so that what is lost, doubled or misplaced is seen.
func noise(length int) []byte {
	bytes := make([]byte, length)
	state := uint64(0x9e3779b97f4a7c15)
	for i := range bytes {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		bytes[i] = byte(state)
	}
	return bytes
}
