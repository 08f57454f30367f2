//go:build !unix

package webhook

import "net"

// takeWaiting takes nobody where that cannot be done without waiting.
func takeWaiting(net.Listener) []net.Conn { return nil }
