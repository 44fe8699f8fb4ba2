// Command peer is a server and a client of Go's net/http: HTTP as somebody else wrote it.
//
//	peer serve ADDRESS              logs a line of JSON for each request
//	peer ask ADDRESS HOST PLAY      plays a client's part and prints what it saw, a line of JSON for each step
//
// It tells what it saw and judges nothing: the tests compare.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "serve" {
		fail(serve(os.Args[2]))
	}
	if len(os.Args) == 5 && os.Args[1] == "ask" {
		fail(ask(os.Args[2], os.Args[3], os.Args[4]))
	}
	fail(fmt.Errorf("usage: peer serve ADDRESS | peer ask ADDRESS HOST PLAY"))
}

func fail(err error) {
	if err == nil {
		os.Exit(0)
	}
	fmt.Fprintln(os.Stderr, "peer:", err)
	os.Exit(1)
}

var printing sync.Mutex

// tell prints a line of JSON in one piece; maps come out sorted, so equal things are equal lines.
func tell(what any) {
	line, err := json.Marshal(what)
	if err != nil {
		fail(err)
	}
	printing.Lock()
	defer printing.Unlock()
	os.Stdout.Write(append(line, '\n'))
}
