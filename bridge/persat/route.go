package persat

// Route is the payload of a delivery route event (ruta): the stops of one
// vehicle on one day. Such events exist only in Persat's deliveries module
// (documented).
//
// Whether a payload is an object or an array is unknown, so loop over
// Event.Routes. The event of a cancelled route is announced in the
// documentation, its type and payload are not.
type Route struct {
	// ID is the identity, a number: the milliseconds since 1970 at which the
	// route was made. Inferred.
	ID ID `json:"_id"`
	// Assignation is the vehicle and the day. Documented.
	Assignation DeviceAssignation `json:"assignation_info"`
	// Departure is where and when it sets off. Documented.
	Departure Departure `json:"departure"`
	// Stops are its deliveries, in the order of the drive. Documented; that
	// order is inferred from their planned arrival times.
	Stops []Stop `json:"deliveries"`
	// Raw is the whole object; see Object.
	Raw Object
}

func (r *Route) UnmarshalJSON(data []byte) error { return readObject(data, r) }
func (r Route) MarshalJSON() ([]byte, error)     { return writeObject(r) }

// DeviceAssignation is the vehicle that a route was given to. Documented.
type DeviceAssignation struct {
	// AssignedDate is the day, as its midnight. Documented; that it has no
	// zone although it ends in Z is inferred from work orders.
	AssignedDate Timestamp `json:"assigned_date"`
	// DeviceID is the number of the vehicle's device; no event tells of
	// devices. Documented.
	DeviceID ID `json:"device_id"`
	// DeviceName is the device's name, often a number plate. Documented.
	DeviceName string `json:"device_name"`
	// Raw is the whole object; see Object.
	Raw Object
}

func (a *DeviceAssignation) UnmarshalJSON(data []byte) error { return readObject(data, a) }
func (a DeviceAssignation) MarshalJSON() ([]byte, error)     { return writeObject(a) }

// Departure is where and when a route sets off. Documented.
type Departure struct {
	// Name is the name of the place. Documented.
	Name string `json:"name"`
	// PlannedTime is in minutes after midnight of the assigned day. Documented
	// as a number, 480 in the example; the unit is inferred.
	PlannedTime int `json:"planned_departure_time"`
	// Raw is the whole object; see Object.
	Raw Object
}

func (d *Departure) UnmarshalJSON(data []byte) error { return readObject(data, d) }
func (d Departure) MarshalJSON() ([]byte, error)     { return writeObject(d) }

// Stop is a delivery as its route mentions it. It is no entity of a route
// event: such an event is ordered among the events of its route, not among
// those of its deliveries.
type Stop struct {
	// ID is the delivery's identity. Documented.
	ID ID `json:"_id"`
	// State is where the delivery stood. Documented.
	State DeliveryState `json:"state"`
	// PlannedArrival is in minutes after midnight of the assigned day.
	// Documented as a number; the unit is inferred.
	PlannedArrival int `json:"planned_arrival_time"`
	// Raw is the whole object; see Object.
	Raw Object
}

func (s *Stop) UnmarshalJSON(data []byte) error { return readObject(data, s) }
func (s Stop) MarshalJSON() ([]byte, error)     { return writeObject(s) }
