package persat

import "encoding/json"

// Delivery is the payload of a delivery event (entrega): goods for one address.
//
// No event is sent when a delivery is updated (no such page). A deletion is one
// event for many deliveries, always an array of trimmed ones, without a time of
// deletion (documented). Whether a creation is an object or an array is unknown,
// so loop over Event.Deliveries.
type Delivery struct {
	// ID is the identity. Who makes a delivery through the API chooses it, so
	// it can hold any characters. Documented for deletions, inferred elsewhere.
	ID ID `json:"_id"`
	// State is where it stands. Documented.
	State DeliveryState `json:"state"`
	// Created is when it was made. Documented; whether in UTC or local time is
	// unknown.
	Created Timestamp `json:"created"`
	// SourceTag tells where it came from. Documented as optional, its values
	// are not.
	SourceTag string `json:"source_tag"`
	// LabelIDs refer to labels, of which no event tells. Documented.
	LabelIDs []ID `json:"labels_ids"`
	// DueDate is when it has to be there. Documented; that it is a day without
	// a zone, as in work orders, is inferred.
	DueDate Timestamp `json:"due_date"`
	// Client is for whom; nil when for nobody in the list of clients.
	// Documented.
	Client *ClientRef `json:"client"`
	// Data is what goes where, and the outcome. Documented.
	Data DeliveryData `json:"delivery_data"`
	// Assignation is the vehicle that takes it; nil before. Documented; what is
	// in it is inferred from delivery routes.
	Assignation *DeviceAssignation `json:"assignation_info"`
	// Raw is the whole object; see Object.
	Raw Object
}

func (d *Delivery) UnmarshalJSON(data []byte) error { return readObject(data, d) }
func (d Delivery) MarshalJSON() ([]byte, error)     { return writeObject(d) }

// DeliveryState is where a delivery stands. The words are documented; what they
// mean follows from the words.
type DeliveryState string

const (
	DeliveryPending  DeliveryState = "PENDING"
	DeliveryRouting  DeliveryState = "ROUTING"
	DeliveryAssigned DeliveryState = "ASSIGNED"
	// The three ends: delivered, delivered with a deviation, not delivered.
	DeliveryFinished              DeliveryState = "FINISHED"
	DeliveryFinishedWithDeviation DeliveryState = "FINISHED_WITH_DEVIATION"
	DeliveryNotFinished           DeliveryState = "NOT_FINISHED"
)

// DeliveryData is what goes where, and the outcome. Documented.
type DeliveryData struct {
	// SchemaID is the template of its forms; only the API has it. Documented.
	SchemaID ID `json:"schema_id"`
	// ServiceTime is the time needed at the door. Documented; in minutes is
	// inferred from work orders.
	ServiceTime int `json:"service_time"`
	// Window is from when to when the goods are taken in. Documented as a pair;
	// in minutes after local midnight is inferred from the other times of day.
	Window []int `json:"wt"`
	// Capacity is how much of the vehicle it takes. Documented; its unit and
	// JSON type are unknown, so it is left as it came.
	Capacity json.RawMessage `json:"capacity"`
	// Contact is who takes it in. Documented.
	Contact Contact `json:"contact"`
	// Position is where. Documented.
	Position Position `json:"position"`
	// Instructions are for the driver. Documented, and other than in a work
	// order directly here, without an object between.
	Instructions FormValues `json:"instructions"`
	// Results are the driver's; nil until there are any. Documented.
	Results *DeliveryResults `json:"results"`
	// Raw is the whole object; see Object.
	Raw Object
}

func (d *DeliveryData) UnmarshalJSON(data []byte) error { return readObject(data, d) }
func (d DeliveryData) MarshalJSON() ([]byte, error)     { return writeObject(d) }

// Contact is who takes a delivery in. Documented. It is a person: think before
// you log it.
type Contact struct {
	// Name is free text and can be empty. Documented.
	Name string `json:"name"`
	// Phone is free text and can be empty. Documented.
	Phone string `json:"phone"`
	// Email is free text and can be empty. Documented.
	Email string `json:"email"`
	// Raw is the whole object; see Object.
	Raw Object
}

func (c *Contact) UnmarshalJSON(data []byte) error { return readObject(data, c) }
func (c Contact) MarshalJSON() ([]byte, error)     { return writeObject(c) }

// Position is where a delivery goes. Documented.
type Position struct {
	// Address is the place in words. Documented.
	Address Address `json:"address"`
	// Location is longitude, then latitude, in degrees: the other way round
	// than in a Client. Nil when it is unknown. Documented.
	Location []float64 `json:"location"`
	// Raw is the whole object; see Object.
	Raw Object
}

func (p *Position) UnmarshalJSON(data []byte) error { return readObject(data, p) }
func (p Position) MarshalJSON() ([]byte, error)     { return writeObject(p) }

// Address is a place in words. Documented.
type Address struct {
	// Clean is the address as a map service takes it. Documented; the meaning
	// is inferred from the name.
	Clean string `json:"clean"`
	// ExtraInfo is what else the driver has to know. Documented; the meaning is
	// inferred from the name.
	ExtraInfo string `json:"extra_info"`
	// Raw is the whole object; see Object.
	Raw Object
}

func (a *Address) UnmarshalJSON(data []byte) error { return readObject(data, a) }
func (a Address) MarshalJSON() ([]byte, error)     { return writeObject(a) }

// DeliveryResults is what the driver reports. Documented.
type DeliveryResults struct {
	// FormValues are the filled-in results. Documented.
	FormValues FormValues `json:"formvalues"`
	// Log tells who wrote results, and when. Documented.
	Log []LogEntry `json:"log"`
	// Raw is the whole object; see Object.
	Raw Object
}

func (r *DeliveryResults) UnmarshalJSON(data []byte) error { return readObject(data, r) }
func (r DeliveryResults) MarshalJSON() ([]byte, error)     { return writeObject(r) }

// LogEntry is one change of a delivery's results. Documented.
type LogEntry struct {
	// UserName is the user's login. Documented.
	UserName string `json:"user_name"`
	// UserID is the user's number. Documented.
	UserID ID `json:"user_id"`
	// Date is when. Documented; whether in UTC or local time is unknown.
	Date Timestamp `json:"date"`
	// Raw is the whole object; see Object.
	Raw Object
}

func (l *LogEntry) UnmarshalJSON(data []byte) error { return readObject(data, l) }
func (l LogEntry) MarshalJSON() ([]byte, error)     { return writeObject(l) }
