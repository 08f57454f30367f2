package persat

import "slices"

// Shape is what a payload is.
type Shape string

const (
	OneObject Shape = "object"
	// ManyObjects is an array of objects, also when there is one.
	ManyObjects Shape = "array"
	// OneOrMany is either: which one is not known.
	OneOrMany Shape = "object or array"
)

// Entry is one row of the catalogue of events. The table of docs/events.md, the
// schemas of package schema, the samples and the AsyncAPI document are made
// from it, so that they cannot say different things.
//
// Each fact has beside it whether it is confirmed, which is to say read in
// Persat's documentation; what is not confirmed is inferred.
type Entry struct {
	// Type is the eventType.
	Type string
	Kind Kind
	// Title says in a few words what happened.
	Title string
	// Confirmed says that the type was read, letter by letter. The others follow
	// from a page's title and the pattern of the confirmed ones.
	Confirmed bool
	// Assumed says that the page's title is all that is known, and that the type is
	// a placeholder of this project: the event may arrive under another name.
	// Documents write "(name assumed)" behind such a type, schemas x-assumed.
	Assumed bool
	// Fires says what makes Persat send it.
	Fires string
	// Payload is the shape of what it carries. Each object is of the kind's Go
	// type.
	Payload          Shape
	PayloadConfirmed bool
	// Identity is the member of each payload object that names the entity, and
	// IdentityType its JSON type.
	Identity          string
	IdentityType      string
	IdentityConfirmed bool
	// States are the documented values of the member state; nil when the payload
	// has no such member, or when they are not known for this event.
	States []string
	// Caveat is what a consumer is surprised by; empty when nothing is known.
	Caveat string
}

var (
	deliveryStates = []string{
		string(DeliveryPending), string(DeliveryRouting), string(DeliveryAssigned),
		string(DeliveryFinished), string(DeliveryFinishedWithDeviation), string(DeliveryNotFinished),
	}
	deliveryEnds    = deliveryStates[3:]
	workOrderOpen   = []string{string(WorkOrderPending), string(WorkOrderPlanned), string(WorkOrderAssigned)}
	workOrderEnds   = []string{string(WorkOrderClosedOK), string(WorkOrderClosedDeviation), string(WorkOrderClosedNotDone)}
	workOrderReport = []string{string(WorkOrderReported)}
)

var catalogue = []Entry{
	{
		Type: "client.created", Kind: KindClient, Title: "Client created", Confirmed: true,
		Fires:   "A client is made by hand or by a CSV import",
		Payload: OneObject, Identity: "uid_client", IdentityType: "string",
		Caveat: "An import is one event for each client, thousands at once.",
	},
	{
		Type: "client.updated", Kind: KindClient, Title: "Client updated", Confirmed: true,
		Fires:   "A client is changed on the web, by the importer or in the Android app",
		Payload: OneObject, PayloadConfirmed: true, Identity: "uid_client", IdentityType: "string", IdentityConfirmed: true,
		Caveat: "Silent when the change comes through the API. Carries the whole client.",
	},
	{
		Type: "client.deleted", Kind: KindClient, Title: "Client deleted", Confirmed: true,
		Fires:   "A client is deleted on the web or in the Android app",
		Payload: OneObject, PayloadConfirmed: true, Identity: "uid_client", IdentityType: "string", IdentityConfirmed: true,
		Caveat: "Silent when the deletion comes through the API. Carries `uid_client` and nothing else, so two deletions of a client that was made anew between them have equal bodies.",
	},
	{
		Type: "delivery.created", Kind: KindDelivery, Title: "Delivery created", Confirmed: true,
		Fires:   "A delivery is made by hand or by an Excel import",
		Payload: OneOrMany, Identity: "_id", IdentityType: "string", States: deliveryStates,
		Caveat: "Who makes a delivery through the API chooses its id: any characters.",
	},
	{
		Type: "delivery.finished", Kind: KindDelivery, Title: "Delivery finished",
		Fires:   "The driver completes the result",
		Payload: OneOrMany, Identity: "_id", IdentityType: "string", States: deliveryEnds,
	},
	{
		Type: "delivery.deleted", Kind: KindDelivery, Title: "Deliveries deleted", Confirmed: true,
		Fires:   "Deliveries are deleted on the web, in bulk or through the API",
		Payload: ManyObjects, PayloadConfirmed: true, Identity: "_id", IdentityType: "string", IdentityConfirmed: true, States: deliveryStates,
		Caveat: "One event for many deliveries, always an array, of trimmed deliveries. No time of deletion.",
	},
	{
		Type: "deliveryRoute.assigned", Kind: KindRoute, Title: "Delivery route assigned to a device", Confirmed: true,
		Fires:   "A route is assigned to a device",
		Payload: OneOrMany, Identity: "_id", IdentityType: "number",
		Caveat: "With the deliveries module only.",
	},
	{
		Type: "deliveryRoute.updated", Kind: KindRoute, Title: "Assigned delivery route updated", Confirmed: true,
		Fires:   "An assigned route is changed",
		Payload: OneOrMany, Identity: "_id", IdentityType: "number",
		Caveat: "With the deliveries module only.",
	},
	{
		Type: "deliveryRoute.cancelled", Kind: KindRoute, Title: "Assigned delivery route cancelled", Assumed: true,
		Fires:   "An assigned route is cancelled",
		Payload: OneOrMany, Identity: "_id", IdentityType: "number",
		Caveat: "With the deliveries module only.",
	},
	{
		Type: "form.created", Kind: KindForm, Title: "Form created", Assumed: true,
		Fires:   "A digital form is filled in",
		Payload: OneOrMany, Identity: "_id", IdentityType: "string",
		Caveat: "The type may begin with another word, such as `digitalForm`.",
	},
	{
		Type: "form.updated", Kind: KindForm, Title: "Form updated", Assumed: true,
		Fires:   "A digital form is changed",
		Payload: OneOrMany, Identity: "_id", IdentityType: "string",
	},
	{
		Type: "form.stateUpdated", Kind: KindForm, Title: "State of a form updated", Assumed: true,
		Fires:   "The state of a digital form is changed",
		Payload: OneOrMany, Identity: "_id", IdentityType: "string",
		Caveat: "The state is an object, and the company defines its values.",
	},
	{
		Type: "form.statesUpdated", Kind: KindForm, Title: "States of many forms updated", Assumed: true,
		Fires:   "The state of many digital forms is changed at once",
		Payload: ManyObjects, Identity: "_id", IdentityType: "string",
		Caveat: "One event for many forms, plausibly an array.",
	},
	{
		Type: "workorder.created", Kind: KindWorkOrder, Title: "Work order created", Confirmed: true,
		Fires:   "A new work order",
		Payload: OneObject, PayloadConfirmed: true, Identity: "_id", IdentityType: "string", IdentityConfirmed: true, States: workOrderOpen,
		Caveat: "An instance of a repetitive work order fires only when it is first changed, and never when it is completed before that. Its members vary with the state.",
	},
	{
		Type: "workorder.updated", Kind: KindWorkOrder, Title: "Work order updated",
		Fires:   "A work order is changed",
		Payload: OneObject, Identity: "_id", IdentityType: "string",
	},
	{
		Type: "workorder.finished", Kind: KindWorkOrder, Title: "Work order finished by the technician", Confirmed: true,
		Fires:   "The technician completes it",
		Payload: OneObject, Identity: "_id", IdentityType: "string", IdentityConfirmed: true, States: workOrderReport,
		Caveat: "Can be the first event of a work order.",
	},
	{
		Type: "workorder.closed", Kind: KindWorkOrder, Title: "Work order closed from the web", Confirmed: true,
		Fires:   "A work order is closed on the web",
		Payload: OneObject, PayloadConfirmed: true, Identity: "_id", IdentityType: "string", IdentityConfirmed: true, States: workOrderEnds,
		Caveat: "Silent when it is closed through the API. Carries the whole work order, but no time of closing.",
	},
}

// Catalogue returns the seventeen events of Persat's documentation, always in the
// same order. Ten types were read, two follow from the pattern, and five are assumed.
//
// The catalogue holds names and samples, not admission: an event of any other type
// is published like these, and so is next year's.
func Catalogue() []Entry {
	entries := slices.Clone(catalogue)
	for i := range entries {
		entries[i].States = slices.Clone(entries[i].States)
	}
	return entries
}

// Types returns the event types of the catalogue, in its order.
func Types() []string {
	types := make([]string, len(catalogue))
	for i, entry := range catalogue {
		types[i] = entry.Type
	}
	return types
}
