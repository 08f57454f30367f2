package persat_test

import (
	"strings"
	"testing"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

// hostile are bodies that a stranger, a broken proxy or a later Persat could
// send. They seed the fuzz tests.
var hostile = []string{
	``,
	` `,
	`ok`,
	`<html><body>502 Bad Gateway</body></html>`,
	`{"eventType":"workorder.closed","payload":{"_id":"48"}`,
	`{"eventType":"workorder.closed"}{"eventType":"workorder.closed"}`,
	`null`,
	`48`,
	`"workorder.closed"`,
	`[]`,
	`[{"eventType":"workorder.closed"}]`,
	`{}`,
	"\ufeff" + `{"eventType":"workorder.closed"}`,
	`{"eventType":">"}`,
	`{"eventType":"*"}`,
	`{"eventType":"a b"}`,
	`{"eventType":"workorder..x"}`,
	`{"eventType":".x"}`,
	`{"eventType":"x."}`,
	`{"eventType":"$JS.API.STREAM.DELETE.PERSAT"}`,
	`{"eventType":"workorder.closed\u0000"}`,
	"{\"eventType\":\"workorder.closed\x00\"}",
	`{"eventType":"workorder.closed\r\nPUB x 0"}`,
	`{"eventType":"` + strings.Repeat("a", 5000) + `"}`,
	`{"eventType":"` + strings.Repeat("a", 128) + `"}`,
	`{"eventType":"entrega.creación"}`,
	`{"eventType":"\ud800"}`,
	`{"eventType":48}`,
	`{"eventType":null,"payload":null}`,
	`{"EventType":"workorder.closed"}`,
	`{"\u0065ventType":"workorder.closed","p\u0061yload":{"\u005fid":"4\u0038"}}`,
	`{"eventType":"workorder.closed","eventType":"client.deleted"}`,
	`{"eventType":"workorder.closed","\u0065ventType":"client.deleted"}`,
	`{"eventType":"workorder.closed","payload":{"_id":"1"},"payload":{"_id":"2"}}`,
	`{"eventType":"workorder.closed","payload":{"_id":"1","_id":"2"}}`,
	`{"eventType":"workorder.closed","payload":{"_id":"1","\u005fid":"2","uid_client":"3"}}`,
	`{"eventType":"workorder.closed","payload":{"_id":"1","uid_client":"3"}}`,
	`{"eventType":"client.updated","payload":{"_id":"1","uid_client":"3"}}`,
	`{"eventType":"client.updated","payload":{"_id":"1","uid_client":""}}`,
	`{"eventType":"workorder.closed","payload":{"_id":null,"uid_client":3}}`,
	`{"eventType":"workorder.closed","payload":{"_id":{"_id":"1"}}}`,
	`{"eventType":"workorder.closed","payload":{"a":{"_id":"1"},"b":["_id"]}}`,
	`{"eventType":"workorder.closed","payload":{"a":"\"}","_id":"\\"}}`,
	`{"eventType":"workorder.closed","payload":{"_id":"\ud800","wo_data":null,"client":5}}`,
	"{\"eventType\":\"workorder.closed\",\"payload\":{\"_id\":\"\xff\"}}",
	`{"eventType":"delivery.deleted","payload":[{"_id":"a"},5,null,[{"_id":"x"}],{"_id":"b"},{"_id":"a"},{}]}`,
	`{"eventType":"delivery.deleted","payload":[{"_id":-1},{"_id":"-1"},{"_id":1e3},{"_id":1.0}]}`,
	`{"eventType":"delivery.deleted","payload":[]}`,
	`{"eventType":"delivery.deleted","payload":48}`,
	`{"eventType":"delivery.deleted","payload":"48"}`,
	`{"eventType":"delivery.deleted","payload":true}`,
	`{"eventType":"deliveryRoute.assigned","payload":{"_id":1707684808389,"deliveries":[5]}}`,
	`{"eventType":"deliveryRoute.assigned","payload":{"_id":123456789012345678901234567890,"departure":{"planned_departure_time":4.5e1}}}`,
	`{"eventType":"client.created","payload":{"latitude":1e999,"longitude":-0,"LATITUDE":1,"custom_fields":{"1":{"name":7}}}}`,
	`{"eventType":"form.created","payload":{"state":"NEW","df_data":{"results":{"formvalues":{"FWa":null,"FWb":[1,"2"],"FWc":{}}}}}}`,
	`{"eventType":"x","payload":` + strings.Repeat("[", 9998) + strings.Repeat("]", 9998) + `}`,
	`{"eventType":"x","payload":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`,
	`{"eventType":"x","payload":` + strings.Repeat(`{"_id":`, 9000) + `1` + strings.Repeat("}", 9000) + `}`,
	"\t{ \"eventType\" : \"x\" ,\r\n\"payload\" : [ { \"_id\" : 1 } , { \"_id\" :\n2 } ] }\n",
}

// addSeeds seeds a fuzz test with the hostile bodies and all samples.
func addSeeds(f *testing.F) {
	for _, body := range hostile {
		f.Add([]byte(body))
	}
	for _, eventType := range persat.Types() {
		body, err := persat.Sample(eventType, "")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
}
