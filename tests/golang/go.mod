// A server and a client of Go's net/http, for tests/tests/golang.rs and others.
// golang.org/x/net v0.33.0 is the newest that Debian 12's Go 1.19 builds; its http2 is what net/http has inside, and its h2c also takes upgrades.
module understudy.dev/lab/peer

go 1.18

require golang.org/x/net v0.33.0

require golang.org/x/text v0.21.0 // indirect
