// Package sim simulates the whole bridge: the real Accept, Run and journal, on a disk that
// loses what was not synced at a power cut, against a model of JetStream, in virtual time.
// It has tests only.
//
// A script is a list of steps: accept events, cut the power of the bridge or of NATS, purge
// the stream, let time pass. A seed makes a script; a script that fails is shrunk, printed,
// and can be kept in testdata, where each one is a regression test.
//
//	script_test.go   Script, its text, its steps from a seed
//	world_test.go    runs a script: lives of the bridge, one behind the other, in one bubble
//	stream_test.go   the model of a stream; model_test.go holds it to a real nats-server
//	server_test.go   the model of a server: sessions, attempts, faults
//	promise_test.go  what must hold: the promise of package bridge, and that Status tells the truth
//	shrink_test.go   makes a failing script shorter
//	sim_test.go      the schedules; run 10,000 with -long
//
// What happens in which order inside one moment of virtual time is the scheduler's, so a
// seed that fails once may need several runs to fail again.
package sim
