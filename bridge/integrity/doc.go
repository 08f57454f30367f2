// Package integrity answers one question: does the stream still have what it
// acknowledged?
package integrity
