//! events.k8s.io/v1 Event, which is stored as a core/v1 Event. Upstream: pkg/apis/events/v1/conversion.go.

use api_types::core::v1::{Event as CoreEvent, EventSeries as CoreSeries};
use api_types::events::v1::{Event, EventSeries};

use super::super::object::Object;
use super::Functions;

pub(super) static FUNCTIONS: Functions = Functions { to_hub, to_served };

fn to_hub(object: Object) -> Result<Object, String> {
    let event = object
        .into_value()
        .downcast::<Event>()
        .map_err(|_| "not an events.k8s.io/v1 Event".to_owned())?;
    let event = *event;
    Ok(Object::from(CoreEvent {
        metadata: event.metadata,
        involved_object: event.regarding,
        reason: event.reason,
        message: event.note,
        source: event.deprecated_source,
        first_timestamp: event.deprecated_first_timestamp,
        last_timestamp: event.deprecated_last_timestamp,
        count: event.deprecated_count,
        type_: event.type_,
        event_time: event.event_time,
        series: event.series.map(|series| {
            Box::new(CoreSeries {
                count: series.count,
                last_observed_time: series.last_observed_time,
            })
        }),
        action: event.action,
        related: event.related,
        reporting_component: event.reporting_controller,
        reporting_instance: event.reporting_instance,
        ..CoreEvent::default()
    }))
}

fn to_served(object: Object) -> Result<Object, String> {
    let event = object
        .into_value()
        .downcast::<CoreEvent>()
        .map_err(|_| "not a core/v1 Event".to_owned())?;
    let event = *event;
    Ok(Object::from(Event {
        metadata: event.metadata,
        event_time: event.event_time,
        series: event.series.map(|series| {
            Box::new(EventSeries {
                count: series.count,
                last_observed_time: series.last_observed_time,
            })
        }),
        reporting_controller: event.reporting_component,
        reporting_instance: event.reporting_instance,
        action: event.action,
        reason: event.reason,
        regarding: event.involved_object,
        related: event.related,
        note: event.message,
        type_: event.type_,
        deprecated_source: event.source,
        deprecated_first_timestamp: event.first_timestamp,
        deprecated_last_timestamp: event.last_timestamp,
        deprecated_count: event.count,
        ..Event::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let mut event = Event {
            note: "n".to_owned(),
            reason: "r".to_owned(),
            reporting_controller: "c".to_owned(),
            ..Event::default()
        };
        event.regarding.name = "pod".to_owned();
        event.series = Some(Box::new(EventSeries {
            count: 3,
            ..EventSeries::default()
        }));
        let hub = to_hub(Object::from(event.clone())).unwrap();
        assert_eq!(hub.get::<CoreEvent>().unwrap().reporting_component, "c");
        assert_eq!(to_served(hub).unwrap().get::<Event>(), Some(&event));
    }
}
