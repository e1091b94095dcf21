//! What a keeper is told from outside: that its model stops, or that its replica is to go while others stay.

use tokio::sync::watch::Receiver;

#[derive(Clone)]
pub(super) struct Signals {
    stopping: Receiver<bool>,
    leaving: Receiver<bool>,
}

impl Signals {
    pub(super) fn new(stopping: Receiver<bool>, leaving: Receiver<bool>) -> Signals {
        Signals { stopping, leaving }
    }

    pub(super) fn is_ending(&self) -> bool {
        self.is_stopping() || *self.leaving.borrow()
    }

    /// Whoever stops all replicas drains their dispatcher too.
    pub(super) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Until either is told. Whoever can tell no more has gone, and so does the replica.
    pub(super) async fn ending(&mut self) {
        tokio::select! {
            _ = self.stopping.wait_for(|stopping| *stopping) => {}
            _ = self.leaving.wait_for(|leaving| *leaving) => {}
        }
    }
}
