package bridge

import (
	"testing"
	"testing/synctest"
	"time"
)

// A list comes free after the results of its tasks, so the loop may fill another one
// meanwhile. With a window of one there were two, the sender waited for room for the second,
// and a stop waited for the sender.
func TestSenderNeverWaitsForListsThatNobodyFills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sender{lists: make(chan list, 1), free: make(chan []attempt, 1)}
		ended := make(chan struct{})
		go func() {
			s.run()
			close(ended)
		}()
		for range 3 {
			s.lists <- list{attempts: make([]attempt, 0, 1)}
			synctest.Wait()
		}
		s.send(nil, false, nil, 0, time.Now())
		s.close()
		<-ended
	})
}
