package persat

// Form is the payload of a form event (formulario): a digital form that someone
// filled in. Its shape is documented for the API; that form events carry it is
// inferred. Their types are unknown: see Catalogue. No event is sent when a
// form is deleted (no such page).
type Form struct {
	// ID is the identity. Documented as a string for the API.
	ID ID `json:"_id"`
	// Created is when it was filled in. Documented; whether in UTC or local
	// time is unknown.
	Created Timestamp `json:"created"`
	// CreatedByUserName is who filled it in, as a login. Documented.
	CreatedByUserName string `json:"created_by_user_name"`
	// CreatedByUserID is that user's number. Documented.
	CreatedByUserID ID `json:"created_by_user_id"`
	// Client is whom it is about. Documented.
	Client ClientRef `json:"client"`
	// Data is what was filled in. Documented.
	Data FormData `json:"df_data"`
	// State is where it stands: an object, other than in work orders and
	// deliveries. Documented.
	State FormState `json:"state"`
	// Raw is the whole object; see Object.
	Raw Object
}

func (f *Form) UnmarshalJSON(data []byte) error { return readObject(data, f) }
func (f Form) MarshalJSON() ([]byte, error)     { return writeObject(f) }

// FormData is what was filled in. Documented.
type FormData struct {
	// SchemaID is the form's template; only the API has it. Documented.
	SchemaID ID `json:"schema_id"`
	// Results are the answers. Documented.
	Results FormResults `json:"results"`
	// Raw is the whole object; see Object.
	Raw Object
}

func (d *FormData) UnmarshalJSON(data []byte) error { return readObject(data, d) }
func (d FormData) MarshalJSON() ([]byte, error)     { return writeObject(d) }

// FormResults are the answers of a form. Documented.
type FormResults struct {
	// LastUpdated is when they last changed. Documented; whether in UTC or
	// local time is unknown.
	LastUpdated Timestamp `json:"last_updated"`
	// FormValues are the answers. Documented.
	FormValues FormValues `json:"formvalues"`
	// Raw is the whole object; see Object.
	Raw Object
}

func (r *FormResults) UnmarshalJSON(data []byte) error { return readObject(data, r) }
func (r FormResults) MarshalJSON() ([]byte, error)     { return writeObject(r) }

// FormState is a state that the company defined for its forms. Documented.
type FormState struct {
	// ID is the state's number. Documented.
	ID ID `json:"id"`
	// Name is the state's label. Documented.
	Name string `json:"name"`
	// Color is how the web shows the state. Documented.
	Color string `json:"color"`
	// Deleted says that the state is no longer offered. Documented; the
	// meaning is inferred from the name.
	Deleted bool `json:"deleted"`
	// Raw is the whole object; see Object.
	Raw Object
}

func (s *FormState) UnmarshalJSON(data []byte) error { return readObject(data, s) }
func (s FormState) MarshalJSON() ([]byte, error)     { return writeObject(s) }
