//! Containers that nobody waits for any more, on their way out.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::Docker;

/// How often one is tried to be removed; after that the next engine does it.
const TRIES_MAX: u32 = 5;
/// Between two tries: a daemon that restarts needs seconds.
const PAUSE: Duration = Duration::from_secs(2);

/// By id or name, with the tries so far. There are never more than the engine started.
#[derive(Default)]
pub(super) struct Leftovers {
    waiting: RefCell<VecDeque<(String, u32)>>,
    more: Notify,
}

impl Docker {
    /// Removes it some time soon; may be called from a destructor.
    pub(super) fn remove_later(&self, container: &str) {
        self.leftovers.waiting.borrow_mut().push_back((container.to_owned(), 0));
        self.leftovers.more.notify_one();
    }
}

/// As long as the engine lives.
pub(super) async fn remove_all(docker: Rc<Docker>) {
    loop {
        docker.leftovers.more.notified().await;
        // Taken out one by one: nothing is borrowed while Docker is asked.
        while let Some((container, tries)) = docker.leftovers.next() {
            let Err(error) = docker.remove(&container).await else { continue };
            if tries + 1 < TRIES_MAX {
                docker.leftovers.waiting.borrow_mut().push_back((container, tries + 1));
                tokio::time::sleep(PAUSE).await;
            } else {
                tracing::warn!(container, "a container is left to the next engine: {error}");
            }
        }
    }
}

impl Leftovers {
    fn next(&self) -> Option<(String, u32)> {
        self.waiting.borrow_mut().pop_front()
    }
}
