//! The owner of one model on one core: the shell around the pure [`Batcher`].
//!
//! Each turn takes, in this order, what was submitted, what the supervisor changed, what replicas answered and
//! what time did; carries out the batcher's effects; hands answers over; and waits. A turn starts only after the
//! tasks that were ready in the same turn of the event loop, so a batch holds what one turn collected and no timer
//! is needed while a replica is idle.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use schemas::lifecycle::ModelSpec;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Sleep;

use super::cause::Cause;
use super::handle::Submission;
use super::hang_ups::HangUps;
use super::in_flight::{Accepted, Departed, InFlight};
use super::lane::{Batch, Lane, LaneError, batch_cost_max};
use super::outbox::Outbox;
use super::recent::RecentCounts;
use super::warm_up::WarmUps;
use super::{ControlMsg, Core, FleetEvent, ModelSetup, ReplicaFault, Sharing};
use crate::batch::{Batcher, BatcherConfig, Batching, Copies, CostRule, Effect, Outcome, TaskView};
use crate::clock::{Clock, Time};
use crate::ids::{BatchId, Incarnation, ReplicaId, ShapeKey, TaskId, Version};
use crate::observe::metrics::Loss;
use crate::observe::stages::{ModelNames, ModelRecorder};
use crate::query::types::{TaskError, TaskInputs};

mod ending;
mod farewells;
mod vigil;
mod warming;

use farewells::Farewell;

/// Submissions moved into the queue in one turn; more wait in the hand-off for the next, so that replies and
/// connections on this core are not held up by a flood.
const SUBMISSIONS_PER_TURN_MAX: usize = 1024;

mod leaving;
mod parts;
mod replies;

pub struct Dispatcher {
    name: Arc<str>,
    version: Version,
    spec: Arc<ModelSpec>,
    task_bytes_max: u64,
    sharing: Sharing,
    clock: Clock,
    submissions: mpsc::Receiver<Submission>,
    /// Received while waiting, taken in the next turn.
    received: Option<Submission>,
    hang_ups: HangUps,
    control: mpsc::Receiver<ControlMsg>,
    received_control: Option<ControlMsg>,
    events: mpsc::Sender<FleetEvent>,
    batcher: Batcher<Batching>,
    in_flight: InFlight,
    /// Of live replicas, and of those that are warmed up.
    lanes: Vec<Lane>,
    warm_ups: WarmUps,
    farewells: Vec<Farewell>,
    look_at: Time,
    outbox: Outbox,
    recorder: Rc<ModelRecorder>,
    names: ModelNames,
    recent: RecentCounts,
    timer: Pin<Box<Sleep>>,
    timer_at: Option<Time>,
    next_task: u64,
    /// Cost of all tasks that came.
    arrived_cost: u64,
    cause: Cause,
    /// Somebody was answered in this turn.
    answered: bool,
    /// Effects to carry out once the answers of the event at hand are out.
    actions: VecDeque<Effect>,
    draining: Option<oneshot::Sender<()>>,
    /// Another dispatcher has taken the model's name and version: its gauges are not this one's any more.
    succeeded: bool,
}

impl Dispatcher {
    pub fn new(core: &Core, setup: ModelSetup) -> Dispatcher {
        let task_bytes_max = setup.batch_bytes_max;
        let is_fixed = setup.fixed_batches.is_some();
        let rows_max = setup.spec.max_batch;
        let config = BatcherConfig {
            queue_tasks_max: setup.queue_tasks_max,
            queue_bytes_max: setup.queue_bytes_max,
            batch_rows_max: rows_max,
            batch_bytes_max: task_bytes_max,
            batch_cost_max: match is_fixed {
                _ if setup.spec.decoupled => 1,
                true => rows_max.into(),
                false => batch_cost_max(&setup.spec, task_bytes_max),
            },
            cost_rule: if setup.spec.pad { CostRule::Padded } else { CostRule::Sum },
            copies: if setup.spec.decoupled { Copies::Never } else { Copies::Allowed },
            slo: setup.spec.slo_us.map(Duration::from_micros),
            batch_timeout: Duration::from_micros(setup.spec.batch_timeout_us),
        };
        let batching = Batching::new(&config, setup.fixed_batches);
        let batcher = Batcher::with_controller(config, batching);
        Dispatcher {
            recorder: core.recorder.owned_model(&setup.name, setup.version, &setup.names),
            names: setup.names,
            recent: RecentCounts::default(),
            name: setup.name,
            version: setup.version,
            spec: setup.spec,
            task_bytes_max,
            sharing: setup.sharing,
            clock: core.clock,
            submissions: setup.submissions,
            received: None,
            hang_ups: setup.hang_ups,
            control: setup.control,
            received_control: None,
            events: setup.events,
            batcher,
            in_flight: InFlight::default(),
            lanes: Vec::new(),
            warm_ups: WarmUps::new(setup.sample, setup.stored_profiles),
            farewells: Vec::new(),
            look_at: Time::ZERO,
            outbox: Outbox::new(core.id, core.links.clone()),
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            timer_at: None,
            next_task: 0,
            arrived_cost: 0,
            cause: Cause::None,
            answered: false,
            actions: VecDeque::new(),
            draining: None,
            succeeded: false,
        }
    }

    /// Runs until drained, or until the supervisor is gone.
    pub async fn run(mut self) {
        loop {
            let now = self.clock.now();
            self.recent.turn(now, || self.recorder.by_class());
            self.take_submissions(now);
            self.take_hang_ups(now);
            self.take_control(now);
            self.take_replies(now);
            self.take_time(now);
            self.say_farewells();
            self.outbox.flush();
            if std::mem::take(&mut self.answered) {
                behind_the_answered().await;
            }
            self.record_standing();
            if self.is_drained() {
                break;
            }
            if self.may_wait() {
                self.wait().await;
            } else {
                tokio::task::yield_now().await;
            }
        }
        self.close();
    }

    // ---- events in ----

    fn take_submissions(&mut self, now: Time) {
        for _ in 0..SUBMISSIONS_PER_TURN_MAX {
            let next = self.received.take().or_else(|| self.submissions.try_recv().ok());
            let Some(submission) = next else { break };
            self.accept(now, submission);
        }
        self.carry_out(now);
    }

    fn accept(&mut self, now: Time, submission: Submission) {
        let Submission { inputs, terms, submitted, reply } = submission;
        let view = TaskView {
            id: TaskId(self.next_task),
            rows: inputs.rows,
            bytes: inputs.bytes(),
            cost: self.cost(&inputs),
            class: terms.class.0,
            weight: terms.weight * inputs.rows,
            shape: self.shape_key(&inputs),
            due: terms.deadline.due,
            late_limit: terms.deadline.late_limit,
            arrived: submitted,
        };
        self.arrived_cost += u64::from(view.cost);
        let task = Accepted { inputs, reply, submitted, due: view.due, class: terms.class };
        if task.is_abandoned() {
            return self.count_cancelled(&task);
        }
        if let Err(error) = self.admit(now, view) {
            return self.answer(task, Err(error));
        }
        self.next_task += 1;
        self.in_flight.accept(view.id, task);
    }

    /// What they cost a batch: batches of a fixed size count rows, whatever is in them; a task that is answered in parts
    /// is a whole batch.
    fn cost(&self, inputs: &TaskInputs) -> u32 {
        if self.spec.decoupled {
            return 1;
        }
        let is_fixed = self.batcher.controller().learned().is_none();
        let row_cost = if is_fixed { 1 } else { inputs.row_cost(&self.spec) };
        inputs.rows.saturating_mul(row_cost)
    }

    /// Equal for tasks that may share a batch.
    fn shape_key(&self, inputs: &TaskInputs) -> ShapeKey {
        match self.sharing {
            Sharing::OneTensor => inputs.shape_key(&self.spec),
            Sharing::RowByRow => ShapeKey::default(),
        }
    }

    fn take_control(&mut self, now: Time) {
        while let Some(message) =
            self.received_control.take().or_else(|| self.control.try_recv().ok())
        {
            self.handle_control(now, message);
            self.carry_out(now);
        }
    }

    fn handle_control(&mut self, now: Time, message: ControlMsg) {
        match message {
            ControlMsg::ReplicaUp { lane, warm_up, live } => {
                self.replica_up(now, *lane, warm_up, live);
            }
            ControlMsg::ReplicaDown { replica, incarnation, last_output } => {
                self.take_replies(now);
                self.lose_replica(now, (replica, incarnation), Loss::Ended, last_output);
            }
            ControlMsg::ReplicaLeave { replica, incarnation } => {
                self.replica_leaves(now, replica, incarnation);
            }
            ControlMsg::Unavailable { reason, retry_after } => {
                self.answer_waiting(
                    now,
                    &TaskError::NoReplica { model: self.name.clone(), reason, retry_after },
                );
            }
            // Whoever asked may have gone.
            ControlMsg::Explain(reply) => drop(reply.send(self.subject().explain(now))),
            ControlMsg::Statistics(reply) => drop(reply.send(self.recorder.statistics())),
            ControlMsg::Load { scale, reply } => {
                self.recorder.scale(scale);
                let _asked = reply.send(self.load());
            }
            ControlMsg::Profiles(reply) => drop(reply.send(self.learned_profiles())),
            ControlMsg::Drain(done) => self.draining = Some(done),
            ControlMsg::GiveWay => self.give_way(),
            ControlMsg::Succeed => self.succeed(),
        }
    }

    /// What the replica had is run again or answered; an incarnation already gone is no news.
    fn lose_replica(
        &mut self,
        now: Time,
        (replica, incarnation): (ReplicaId, Incarnation),
        loss: Loss,
        last_output: Arc<str>,
    ) {
        let known = self.lanes.iter().position(|lane| lane.incarnation == incarnation);
        let Some(index) = known else { return };
        self.lanes.swap_remove(index);
        self.warm_ups.end(replica);
        if !self.has_left(replica) {
            self.recorder.replica_lost(loss);
        }
        self.record_replicas();
        self.in_flight.forget_replica(replica);
        self.cause = Cause::ReplicaLost(last_output);
        self.batcher.handle_replica_down(now, replica);
        self.carry_out(now);
    }

    fn take_time(&mut self, now: Time) {
        self.end_overdue_warm_ups(now);
        self.batcher.handle_timeout(now);
        self.carry_out(now);
        self.keep_vigil(now);
    }

    // ---- effects out ----

    /// Answers first, while the cause is at hand; then what may change the batcher again.
    fn carry_out(&mut self, now: Time) {
        loop {
            while let Some(effect) = self.batcher.poll_effect() {
                match effect {
                    Effect::Leave { task, why } => self.leave(task, why),
                    action => self.actions.push_back(action),
                }
            }
            self.cause = Cause::None;
            match self.actions.pop_front() {
                Some(Effect::Dispatch { replica, batch, tasks }) => {
                    self.dispatch(now, replica, batch, tasks);
                }
                Some(Effect::Kill { replica, .. }) => self.kill(now, replica),
                Some(Effect::Leave { .. }) | None => break,
            }
        }
    }

    fn dispatch(&mut self, now: Time, replica: ReplicaId, batch: BatchId, tasks: Vec<TaskId>) {
        let tasks = self.without_abandoned(now, tasks);
        let Some(index) = self.lanes.iter().position(|lane| lane.replica == replica) else {
            // The lane ended in this very turn; the batcher was told and these tasks are queued again.
            return;
        };
        let inputs: Vec<_> = tasks.iter().filter_map(|&id| self.in_flight.task(id)).collect();
        if inputs.is_empty() {
            self.batcher.handle_outcome(now, replica, batch, Outcome::Withdrawn);
            return;
        }
        let rows = inputs.iter().map(|task| task.inputs.rows).sum();
        let parts: Vec<_> = inputs.iter().map(|task| &task.inputs).collect();
        let sent = self.lanes[index].send(&self.spec, Batch { id: batch, rows, tasks: &parts });
        let mut first_row = 0;
        let tasks = tasks
            .iter()
            .zip(&parts)
            .map(|(&id, inputs)| {
                let at = first_row;
                first_row += inputs.rows;
                (id, at)
            })
            .collect();
        let gathered = self.clock.now().since(now);
        self.in_flight.depart(batch, Departed { replica, at: now, gathered, rows, tasks });
        match sent {
            Ok(bytes) => self.recorder.lane_bytes(bytes),
            Err(error) => self.end_lane(now, index, &error),
        }
    }

    /// A batch overran its time: the replica is stopped, and what it had is settled as a loss.
    fn kill(&mut self, now: Time, replica: ReplicaId) {
        if let Some(index) = self.lanes.iter().position(|lane| lane.replica == replica) {
            let limit = Duration::from_micros(self.spec.batch_timeout_us);
            self.end_lane_because(
                now,
                index,
                Loss::TimedOut,
                format!("a batch took longer than batch_timeout ({limit:?})"),
            );
        }
    }

    fn end_lane(&mut self, now: Time, index: usize, error: &LaneError) {
        self.end_lane_because(now, index, Loss::Fault, error.to_string());
    }

    fn end_lane_because(&mut self, now: Time, index: usize, loss: Loss, why: String) {
        let (replica, incarnation) = (self.lanes[index].replica, self.lanes[index].incarnation);
        let last_output = Arc::from(why.as_str());
        self.report_fault(replica, incarnation, ReplicaFault { loss, why });
        self.lose_replica(now, (replica, incarnation), loss, last_output);
    }

    fn report_fault(&self, replica: ReplicaId, incarnation: Incarnation, fault: ReplicaFault) {
        let (model, version) = (self.name.clone(), self.version);
        let event = FleetEvent::ReplicaFault { model, version, replica, incarnation, fault };
        if let Err(error) = self.events.try_send(event) {
            // The lane is dropped all the same; the container sees its engine's socket close.
            tracing::error!(model = %self.name, %replica, %error, "a replica's fault could not be reported");
        }
    }

    // ---- waiting ----

    /// Announces sleep on every lane. False when something came in the meantime, or is left to do.
    fn may_wait(&mut self) -> bool {
        !self.hang_ups.is_looking() && self.lanes.iter_mut().all(Lane::may_sleep)
    }

    async fn wait(&mut self) {
        self.set_timer();
        let mut waited = false;
        poll_fn(|context| {
            if !std::mem::replace(&mut waited, true) {
                return self.poll_events(context);
            }
            // Woken: the turn that follows looks into every channel itself.
            self.poll_edges(context);
            Poll::Ready(())
        })
        .await;
    }

    /// Arms the timer only for an earlier moment than it is armed for: one that rings for nothing costs less than
    /// moving it twice with every batch.
    fn set_timer(&mut self) {
        let timeouts =
            [self.batcher.next_timeout(), self.warm_ups.next_timeout(), self.next_look()];
        let Some(at) = timeouts.into_iter().flatten().min() else { return };
        if self.timer_at.is_none_or(|armed| at < armed) {
            self.timer_at = Some(at);
            self.timer.as_mut().reset(self.clock.instant(at).into());
        }
    }

    fn poll_events(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut ready = false;
        if let Poll::Ready(Some(submission)) = self.submissions.poll_recv(context) {
            self.received = Some(submission);
            ready = true;
        }
        ready |= self.poll_control(context);
        ready |= self.hang_ups.poll(context).is_ready();
        ready |= self.poll_edges(context);
        if ready { Poll::Ready(()) } else { Poll::Pending }
    }

    /// What would not tell a second time: bells, and the timer. True when one of them rang.
    fn poll_edges(&mut self, context: &mut Context<'_>) -> bool {
        let mut rang = false;
        for lane in &mut self.lanes {
            rang |= lane.poll_bell(context).is_ready();
        }
        if self.timer_at.is_some() && self.timer.as_mut().poll(context).is_ready() {
            self.timer_at = None;
            rang = true;
        }
        rang
    }

    fn poll_control(&mut self, context: &mut Context<'_>) -> bool {
        match self.control.poll_recv(context) {
            Poll::Ready(Some(message)) => {
                self.received_control = Some(message);
                true
            }
            Poll::Ready(None) | Poll::Pending => false,
        }
    }
}

/// Lets those who were woken with their answers write them first: what is left of a turn is books and the way to sleep.
/// Unlike the runtime's own yield it asks the system for no news in between.
async fn behind_the_answered() {
    let mut behind = false;
    poll_fn(|context| {
        if std::mem::replace(&mut behind, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
