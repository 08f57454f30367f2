package natstest

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// Cluster runs three servers in this process that are the cluster "three". extra is
// added to the configuration of each.
func Cluster(t testing.TB, extra string) []*Server {
	t.Helper()
	nodes := newCluster(t, extra, newServer)
	for _, n := range nodes {
		t.Cleanup(n.Stop)
	}
	runAll(t, nodes)
	return nodes
}

// ChildCluster runs three servers as processes of their own that are the cluster "three".
func ChildCluster(t testing.TB, extra string) []*Server {
	t.Helper()
	nodes := newCluster(t, extra, NewChild)
	runAll(t, nodes)
	return nodes
}

// newCluster makes servers of which each knows all routes before it starts.
func newCluster(t testing.TB, extra string, make func(testing.TB, string) *Server) (nodes []*Server) {
	t.Helper()
	var addresses, routes []string
	for range 3 {
		address := testwait.FreeAddress(t)
		addresses, routes = append(addresses, address), append(routes, fmt.Sprintf("%q", "nats://"+address))
	}
	for i, address := range addresses {
		nodes = append(nodes, make(t, fmt.Sprintf("server_name: n%d\ncluster: {name: three, no_advertise: true, listen: %q, routes: [%s]}\n%s", i, address, strings.Join(routes, ", "), extra)))
	}
	return nodes
}

// runAll starts all at once: none gets ready alone.
func runAll(t testing.TB, nodes []*Server) {
	t.Helper()
	var group sync.WaitGroup
	for _, n := range nodes {
		group.Go(n.Run)
	}
	group.Wait()
	if t.Failed() {
		t.FailNow() // a goroutine cannot end the test
	}
}

// URLs names all servers in one comma-separated list.
func URLs(servers []*Server) string {
	var urls []string
	for _, s := range servers {
		urls = append(urls, s.URL)
	}
	return strings.Join(urls, ",")
}

// HubAndLeaf runs two servers of which the second is a leaf node of the first. The hub's
// JetStream has the domain "hub", and the leaf's leafDomain; without one the leaf has no
// JetStream.
func HubAndLeaf(t testing.TB, leafDomain string) (hub, leaf *Server) {
	t.Helper()
	address := testwait.FreeAddress(t)
	hub = Start(t, fmt.Sprintf("server_name: hub\njetstream: {store_dir: $STORE, domain: hub}\nleafnodes: {listen: %q}", address))
	jetStream := fmt.Sprintf("jetstream: {store_dir: $STORE, domain: %s}", leafDomain)
	if leafDomain == "" {
		jetStream = "jetstream: {store_dir: $STORE, enabled: false}"
	}
	leaf = Start(t, fmt.Sprintf("server_name: leaf\n%s\nleafnodes: {remotes: [{url: %q}]}", jetStream, "nats://"+address))
	testwait.Eventually(t, "the leaf reaches its hub", func() bool { return hub.Inside.NumLeafNodes() == 1 && leaf.Inside.NumLeafNodes() == 1 })
	return hub, leaf
}
