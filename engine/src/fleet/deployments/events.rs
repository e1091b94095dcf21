//! What happens to a version on its way to traffic, told to whoever asked for it.

use tokio::sync::mpsc;

use super::wanted::Failure;

/// Events that wait for a slow reader: more than one version ever has.
const EVENTS_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// How far it has come.
    Step(String),
    /// It can answer, and does, unless it is held.
    Ready {
        version: u64,
        url: String,
        checked: bool,
    },
    Failed {
        version: u64,
        failure: Failure,
    },
}

impl Event {
    /// Nothing comes after it.
    pub fn is_last(&self) -> bool {
        !matches!(self, Event::Step(_))
    }
}

/// A version that was accepted, and what becomes of it.
#[derive(Debug)]
pub struct Accepted {
    pub version: u64,
    pub events: mpsc::Receiver<Event>,
}

/// Those who wait for the end of versions of one model.
#[derive(Debug, Default)]
pub struct Listeners(Vec<(u64, mpsc::Sender<Event>)>);

impl Listeners {
    pub fn add(&mut self, version: u64) -> Accepted {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        self.0.push((version, sender));
        Accepted { version, events }
    }

    /// The last event of a version ends its listeners. Whoever has gone, or reads too slowly, misses it.
    pub fn tell(&mut self, version: u64, event: &Event) {
        self.0.retain(|(of, listener)| {
            if *of != version {
                return true;
            }
            let told = listener.try_send(event.clone());
            told.is_ok() && !event.is_last()
        });
    }

    /// Versions that somebody waits for.
    pub fn versions(&self) -> Vec<u64> {
        self.0.iter().map(|(version, _)| *version).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hears_of_its_own_version_up_to_the_last_event() {
        let mut listeners = Listeners::default();
        let (mut first, mut second) = (listeners.add(1), listeners.add(2));
        listeners.tell(1, &Event::Step("loading".into()));
        let failed = Event::Failed { version: 1, failure: Failure::default() };
        listeners.tell(1, &failed);
        listeners.tell(1, &Event::Step("never told".into()));
        assert_eq!(first.events.try_recv(), Ok(Event::Step("loading".into())));
        assert_eq!(first.events.try_recv(), Ok(failed));
        assert!(first.events.try_recv().is_err());
        assert!(second.events.try_recv().is_err());
        assert_eq!(listeners.versions(), [2]);
    }
}
