package persat

// Client is the payload of a client event: a customer of the company that uses
// Persat, and a place on its map.
//
// No event is sent when a client is updated or deleted through Persat's API
// (documented): a copy that follows the events alone goes stale. A deletion
// carries UID and nothing else, not even a time (documented); two deletions of a
// client that was made anew between them have the same body.
type Client struct {
	// UID is the identity, chosen by who made the client. Documented for the
	// updated and deleted events, inferred for created.
	UID ID `json:"uid_client"`
	// CompanyName is the name. Documented.
	CompanyName string `json:"company_name"`
	// CompanyDescription is free text. Inferred: it is in the API's answer for
	// a client, and an update carries the whole client.
	CompanyDescription string `json:"company_description"`
	// TypeID refers to a list that only the API has. Documented.
	TypeID ID `json:"type_id"`
	// GroupID refers to a list that only the API has. Documented.
	GroupID ID `json:"group_id"`
	// Latitude is in degrees, north of the equator. Documented; the datum is not.
	// Zero can mean that there is no position: ask Raw.
	Latitude float64 `json:"latitude"`
	// Longitude is in degrees, east of Greenwich. Documented; the datum is not.
	// Zero can mean that there is no position: ask Raw.
	Longitude float64 `json:"longitude"`
	// Street is the address without its number. Inferred, as
	// CompanyDescription is.
	Street string `json:"street"`
	// StreetNumber is the number of the house. Inferred, as CompanyDescription
	// is.
	StreetNumber string `json:"street_nbr"`
	// Neighborhood is the quarter of the city. Inferred, as CompanyDescription
	// is.
	Neighborhood string `json:"neighborhood"`
	// City is the city of the address. Inferred, as CompanyDescription is.
	City string `json:"city"`
	// Country is the country of the address. Inferred, as CompanyDescription is.
	Country string `json:"country"`
	// LastUpdated is the time of the change. Documented for updates, inferred
	// for created; whether in UTC or local time is unknown.
	LastUpdated Timestamp `json:"last_updated"`
	// CustomFields are the fields that the company added, by number. Inferred,
	// as CompanyDescription is.
	CustomFields map[string]CustomField `json:"custom_fields"`
	// Raw is the whole object; see Object.
	Raw Object
}

func (c *Client) UnmarshalJSON(data []byte) error { return readObject(data, c) }
func (c Client) MarshalJSON() ([]byte, error)     { return writeObject(c) }

// CustomField is a field that the company added to its clients. Inferred, as
// Client.CompanyDescription is.
type CustomField struct {
	// Name is its label.
	Name string `json:"name"`
	// Value is what was filled in; the documentation shows strings alone.
	Value string `json:"value"`
	// Raw is the whole object; see Object.
	Raw Object
}

func (f *CustomField) UnmarshalJSON(data []byte) error { return readObject(data, f) }
func (f CustomField) MarshalJSON() ([]byte, error)     { return writeObject(f) }
