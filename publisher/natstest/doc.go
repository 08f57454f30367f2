// Package natstest runs real nats-servers for tests: in the test's process (Start), or
// as a process of their own that a test can pause and kill (StartChild); alone or three
// as a cluster; behind a proxy that cuts, holds or slows a connection (NewProxy).
//
// It imports nothing of the product, so that the tests of every package can use it.
package natstest
