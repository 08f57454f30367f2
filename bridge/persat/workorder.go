package persat

// WorkOrder is the payload of a work order event (orden de trabajo, OT): a job
// for a technician at a client's place. Each event carries all of it
// (documented for closed, inferred for the others); which members it has varies
// with its state.
//
// No event is sent when a work order is cancelled, overdue or deleted (no such
// page), or closed through the API (documented). The first event of a work order
// need not be its creation: an instance of a repetitive one is announced at its
// first change, or at its completion when nothing was changed before
// (documented).
type WorkOrder struct {
	// ID is the identity, a string of digits such as "48". Documented.
	ID ID `json:"_id"`
	// NoteID is an internal number, of no use outside Persat. Documented.
	NoteID ID `json:"note_id"`
	// State is where it stands. Documented.
	State WorkOrderState `json:"state"`
	// Created is the local time at which it was made, although it ends in Z:
	// read it with Timestamp.In. Documented.
	Created Timestamp `json:"created"`
	// CreatedByUserName is who made it, as a login. Documented.
	CreatedByUserName string `json:"created_by_user_name"`
	// CreatedByUserID is that user's number; -1 when it was made through the
	// API. Documented.
	CreatedByUserID ID `json:"created_by_user_id"`
	// LabelIDs refer to labels, of which no event tells. Documented.
	LabelIDs []ID `json:"labels_ids"`
	// Client is for whom. Documented.
	Client ClientRef `json:"client"`
	// Data is the job and its outcome. Documented.
	Data WorkOrderData `json:"wo_data"`
	// Assignation is when and by whom; nil until it is planned. Documented.
	Assignation *WorkOrderAssignation `json:"assignation_info"`
	// Raw is the whole object; see Object.
	Raw Object
}

func (w *WorkOrder) UnmarshalJSON(data []byte) error { return readObject(data, w) }
func (w WorkOrder) MarshalJSON() ([]byte, error)     { return writeObject(w) }

// WorkOrderState is where a work order stands. The words are documented; what
// they mean beyond what is said here follows from the words.
type WorkOrderState string

const (
	// WorkOrderPending: made, without a date.
	WorkOrderPending WorkOrderState = "PENDIENTE"
	// WorkOrderPlanned: has a date.
	WorkOrderPlanned WorkOrderState = "PROYECTADA"
	// WorkOrderAssigned: has a technician.
	WorkOrderAssigned WorkOrderState = "ASIGNADA"
	// WorkOrderReported: the technician has completed it. Documented for
	// workorder.finished.
	WorkOrderReported WorkOrderState = "INFORME"
	// The three ends, documented for workorder.closed: as agreed, with a
	// deviation, not done.
	WorkOrderClosedOK        WorkOrderState = "CERRADA_OK"
	WorkOrderClosedDeviation WorkOrderState = "CERRADA_CON_DESVIO"
	WorkOrderClosedNotDone   WorkOrderState = "CERRADA_NO_CUMPLIDA"
)

// WorkOrderData is the job of a work order and its outcome. Documented.
type WorkOrderData struct {
	// SchemaID is the template of its forms; only the API has it. Documented.
	SchemaID ID `json:"schema_id"`
	// RuleID is the rule of a repetitive work order, empty for any other.
	// Documented; that it is a string or a number is inferred.
	RuleID ID `json:"wo_rule_id"`
	// Instance is which repetition this is, empty for any other work order.
	// Documented; that it is a string or a number is inferred.
	Instance ID `json:"wo_instance"`
	// ServiceTime is the time it should take, in minutes. Documented.
	ServiceTime int `json:"service_time"`
	// Instructions are for the technician; nil when there are none. Documented.
	Instructions *WorkOrderInstructions `json:"instructions"`
	// Results are the technician's; nil until there are any. Documented.
	Results *WorkOrderResults `json:"results"`
	// Raw is the whole object; see Object.
	Raw Object
}

func (d *WorkOrderData) UnmarshalJSON(data []byte) error { return readObject(data, d) }
func (d WorkOrderData) MarshalJSON() ([]byte, error)     { return writeObject(d) }

// WorkOrderInstructions is what the technician is told. Documented.
type WorkOrderInstructions struct {
	// FormValues are the filled-in instructions. Documented.
	FormValues FormValues `json:"formvalues"`
	// Raw is the whole object; see Object.
	Raw Object
}

func (i *WorkOrderInstructions) UnmarshalJSON(data []byte) error { return readObject(data, i) }
func (i WorkOrderInstructions) MarshalJSON() ([]byte, error)     { return writeObject(i) }

// WorkOrderResults is what the technician reports. Documented.
type WorkOrderResults struct {
	// LastUpdated is when the results last changed. Documented; whether in UTC
	// or, like WorkOrder.Created, in local time is unknown. It is no closing
	// time: there is none.
	LastUpdated Timestamp `json:"last_updated"`
	// FormValues are the filled-in results. Documented.
	FormValues FormValues `json:"formvalues"`
	// Closing is why it was closed; nil before. Documented.
	Closing *ClosingInfo `json:"closing_info"`
	// Raw is the whole object; see Object.
	Raw Object
}

func (r *WorkOrderResults) UnmarshalJSON(data []byte) error { return readObject(data, r) }
func (r WorkOrderResults) MarshalJSON() ([]byte, error)     { return writeObject(r) }

// ClosingInfo is what was noted at the closing of a work order. Documented.
type ClosingInfo struct {
	// Cause is free text. Documented.
	Cause string `json:"cause"`
	// Raw is the whole object; see Object.
	Raw Object
}

func (c *ClosingInfo) UnmarshalJSON(data []byte) error { return readObject(data, c) }
func (c ClosingInfo) MarshalJSON() ([]byte, error)     { return writeObject(c) }

// WorkOrderAssignation is when a work order is to be done, and by whom.
// Documented.
type WorkOrderAssignation struct {
	// Date is the day, as its midnight, without a zone although it ends in Z:
	// read it with Timestamp.In. Documented.
	Date Timestamp `json:"date"`
	// StartsMin is the start in minutes after midnight of that day. Documented
	// as minutes; from local midnight is inferred.
	StartsMin int `json:"starts_min"`
	// ResponsiblesRequired is how many technicians it takes. Documented.
	ResponsiblesRequired int `json:"responsibles_required"`
	// Responsibles are the technicians. Documented.
	Responsibles []Responsible `json:"responsibles"`
	// Raw is the whole object; see Object.
	Raw Object
}

func (a *WorkOrderAssignation) UnmarshalJSON(data []byte) error { return readObject(data, a) }
func (a WorkOrderAssignation) MarshalJSON() ([]byte, error)     { return writeObject(a) }

// Responsible is a technician of a work order. Documented.
type Responsible struct {
	// UserID is the user's number; no event tells of users. Documented.
	UserID ID `json:"user_id"`
	// UserName is the user's login. Documented.
	UserName string `json:"user_name"`
	// Raw is the whole object; see Object.
	Raw Object
}

func (r *Responsible) UnmarshalJSON(data []byte) error { return readObject(data, r) }
func (r Responsible) MarshalJSON() ([]byte, error)     { return writeObject(r) }
