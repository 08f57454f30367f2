package persat

import "strings"

// Kind is the kind of thing that an event is about.
type Kind string

const (
	KindClient    Kind = "client"
	KindWorkOrder Kind = "workorder"
	KindDelivery  Kind = "delivery"
	KindRoute     Kind = "deliveryRoute"
	// KindForm: the word is assumed. No form event has been read, only the titles
	// of their pages; under another word their payload tells (kindOfPayload).
	KindForm Kind = "form"
	// KindOther is every kind that this package does not know.
	KindOther Kind = "other"
)

func kindOf(eventType string) Kind {
	word, _, _ := strings.Cut(eventType, ".")
	switch kind := Kind(word); kind {
	case KindClient, KindWorkOrder, KindDelivery, KindRoute, KindForm:
		return kind
	}
	return KindOther
}

// memberSet has a bit for each member by which an object of some kind is known.
type memberSet uint8

const (
	memberFormData memberSet = 1 << iota
	memberWorkOrderData
	memberDeliveryData
	memberDeparture
	memberDeliveries
	memberCompanyName
)

func memberOfKind(name []byte) memberSet {
	switch string(name) {
	case "df_data":
		return memberFormData
	case "wo_data":
		return memberWorkOrderData
	case "delivery_data":
		return memberDeliveryData
	case "departure":
		return memberDeparture
	case "deliveries":
		return memberDeliveries
	case "company_name":
		return memberCompanyName
	}
	return 0
}

// kindOfPayload is the kind that every object of a payload shows by its members, all
// of them documented; that they tell the kinds apart is inferred. It is KindOther
// when an object shows none or two kinds, or when the objects differ.
func kindOfPayload(objects []identifiers) Kind {
	kind := KindOther
	for n, object := range objects {
		switch k := object.kind(); {
		case n == 0:
			kind = k
		case k != kind:
			return KindOther
		}
	}
	return kind
}

// kind is the one kind that the object's members show, or KindOther.
func (i identifiers) kind() Kind {
	kind, shown := KindOther, 0
	show := func(k Kind, needs memberSet) {
		if i.members&needs == needs {
			kind = k
			shown++
		}
	}
	show(KindForm, memberFormData)
	show(KindWorkOrder, memberWorkOrderData)
	show(KindDelivery, memberDeliveryData)
	show(KindRoute, memberDeparture|memberDeliveries)
	if i.uidClient != nil {
		show(KindClient, memberCompanyName)
	}
	if shown != 1 {
		return KindOther
	}
	return kind
}
