package persat_test

import (
	"fmt"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

// The data of a NATS message from persat.workorder.>, as a consumer gets it.
func ExampleParse() {
	data := []byte(`{"eventType":"workorder.closed","payload":{"_id":"48","state":"CERRADA_CON_DESVIO",
		"created":"2021-07-28T18:52:00.000Z","client":{"uid_client":"C-19349"},
		"wo_data":{"results":{"formvalues":{"FWv1OQzLF":"552.36"},"closing_info":{"cause":"Faltó un repuesto"}}}}}`)

	event, err := persat.Parse(data)
	if err != nil {
		fmt.Println(err) // not an event of Persat's
		return
	}
	orders, err := event.WorkOrders()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, order := range orders {
		fmt.Println(event.Kind, event.Action, order.ID, order.Client.UID)

		created, _ := order.Created.In(time.FixedZone("-03", -3*60*60))
		fmt.Println("created", created)

		if order.State == persat.WorkOrderClosedDeviation && order.Data.Results != nil && order.Data.Results.Closing != nil {
			cost, _ := order.Data.Results.FormValues.Number("FWv1OQzLF")
			fmt.Println("deviation:", order.Data.Results.Closing.Cause, cost)
		}
	}
	// Output:
	// workorder closed 48 C-19349
	// created 2021-07-28 18:52:00 -0300 -03
	// deviation: Faltó un repuesto 552.36
}

// A bulk deletion is one event that speaks of many deliveries.
func ExampleReadEnvelope() {
	envelope, err := persat.ReadEnvelope([]byte(`{"eventType":"delivery.deleted","payload":[{"_id":"A-1"},{"_id":"A-2"}]}`))
	fmt.Println(envelope.Type, envelope.Entities, err)

	_, err = persat.ReadEnvelope([]byte(`{"eventType":"workorder.>"}`))
	fmt.Println(err)
	// Output:
	// delivery.deleted [A-1 A-2] <nil>
	// eventType "workorder.>": only A-Z a-z 0-9 _ - between single dots
}
