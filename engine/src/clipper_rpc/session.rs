//! One container, from its connection to its end.
//!
//! ```text
//! stranger ── new container ──► refused: heard, never answered; it gives up in its own time
//!    │                └───────► serving: one batch at a time, heartbeats in between
//!    └── heartbeat: "who are you?"; anything else is discarded
//! ```
//!
//! A container that opens a connection is asked at once who it is, so that after a restart of the engine all of them are
//! back without waiting for their next heartbeats; the one each sends as its first word is answered by that.

use std::net::SocketAddr;
use std::time::Duration;

use schemas::lifecycle::BATCH_ROWS_MAX;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::batches;
use super::frames::{
    self, Beat, FrameFault, NewContainer, RESPONSE_HEAD_FRAMES, RPC_VERSION, Said,
};
use super::models::{ClipperModels, InputType, ModelId, RegisterError};
use super::registry::{Arrival, Gone, Refused};
use super::zmtp::{Bounds, Wire, WireError};
use crate::dispatch::lane::remote::{Ended, OwnedBatch, PeerEnd, pair};
use crate::ids::BatchId;

/// Of whoever owes no answer: the longest thing to say is a name and a version.
const TALK: Bounds = Bounds { frames: 16, bytes: 64 << 10 };

/// Of a response: an output for each row of the largest batch.
const RESPONSE_FRAMES_MAX: usize = RESPONSE_HEAD_FRAMES + BATCH_ROWS_MAX as usize;

/// A peer that broke the protocol is left hanging for so long: ZeroMQ dials again at once, for ever.
const PENANCE: Duration = Duration::from_secs(1);

/// What all sessions share.
#[derive(Clone, Debug)]
pub(super) struct Room {
    pub(super) models: ClipperModels,
    /// A container that owes nothing and says nothing for so long has gone.
    pub(super) silence_max: Duration,
    /// Of all frames of a response.
    pub(super) response_bytes_max: usize,
}

impl Room {
    fn response(&self) -> Bounds {
        Bounds { frames: RESPONSE_FRAMES_MAX, bytes: self.response_bytes_max }
    }
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Frames(#[from] FrameFault),
    #[error("it was silent for {0:?}")]
    Silent(Duration),
    #[error("it answered message {got}, which it does not have")]
    WrongMessage { got: u32 },
    #[error("it sent a response while it had nothing to answer")]
    NothingAsked,
    #[error("the engine let it go")]
    Dismissed,
    #[error("the engine sent a batch before the last was answered")]
    TwoBatches,
}

impl From<Ended> for End {
    fn from(_: Ended) -> End {
        End::Dismissed
    }
}

impl End {
    /// The peer broke the protocol: it did not merely go.
    fn is_fault(&self) -> bool {
        match self {
            End::Wire(WireError::Closed | WireError::Io(_)) | End::Silent(_) => false,
            End::Dismissed | End::TwoBatches => false,
            End::Wire(_) | End::Frames(_) | End::WrongMessage { .. } | End::NothingAsked => true,
        }
    }
}

/// Until the container goes.
pub(super) async fn run(stream: TcpStream, peer: SocketAddr, room: Room) {
    let mut session = Session { wire: Wire::new(stream), room };
    let new = match session.meet().await {
        Ok(new) => new,
        Err(end) => {
            turned_away(peer, &end);
            return session.part(&end).await;
        }
    };
    match session.serve(new).await {
        Ok(end) => session.part(&end).await,
        Err(refused) => {
            tracing::warn!(%peer, "a container gets no work: {refused}");
            session.ignore().await;
        }
    }
}

fn turned_away(peer: SocketAddr, end: &End) {
    if end.is_fault() {
        tracing::warn!(%peer, "a connection for containers was closed: {end}");
    } else {
        tracing::debug!(%peer, "a connection for containers ended: {end}");
    }
}

/// Why a container that has said what it runs gets no work.
#[derive(Debug, thiserror::Error)]
enum NoWork {
    #[error("{0}")]
    Refused(#[from] Refused),
    #[error("{0}")]
    Name(#[from] RegisterError),
    #[error("model {name}:{version} speaks RPC version {found}; the engine speaks {RPC_VERSION}")]
    Version { name: String, version: String, found: String },
    #[error("model {name}:{version} names no input type that there is")]
    InputType { name: String, version: String },
    #[error("the engine is shutting down")]
    Stopping,
}

/// A batch that the container has.
struct Out {
    batch: BatchId,
    rows: u32,
    message: u32,
}

struct Session {
    wire: Wire,
    room: Room,
}

impl Session {
    /// Until it says what it runs.
    async fn meet(&mut self) -> Result<NewContainer, End> {
        self.wire.open().await?;
        self.wire.send(&frames::heartbeat(Beat::RequestMetadata)).await?;
        let mut asked = true;
        loop {
            match self.next().await? {
                Said::NewContainer(new) => return Ok(new),
                // Its first word, which crossed the question.
                Said::Heartbeat if std::mem::take(&mut asked) => {}
                Said::Heartbeat => {
                    self.wire.send(&frames::heartbeat(Beat::RequestMetadata)).await?;
                }
                // To a batch of an earlier session.
                Said::Response { .. } => {}
            }
        }
    }

    async fn next(&mut self) -> Result<Said, End> {
        let silence = self.room.silence_max;
        let message = timeout(silence, self.wire.next_message(TALK)).await;
        let frames = message.map_err(|_| End::Silent(silence))??;
        Ok(frames::read(&frames)?)
    }

    /// Serves as a replica until it ends; an error: it is refused.
    async fn serve(&mut self, new: NewContainer) -> Result<End, NoWork> {
        let (id, input_type) = accepted(new)?;
        let (engine, peer) = pair();
        let (verdict, answer) = oneshot::channel();
        let (tell_gone, gone) = oneshot::channel();
        let arrival = Arrival { id, input_type, end: engine, verdict, gone };
        self.room.models.arrive(arrival).await;
        answer.await.map_err(|_| NoWork::Stopping)??;
        let mut serving = Serving { peer, input_type, out: None, messages: 0 };
        let end = match self.converse(&mut serving).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        serving.peer.lose(end.to_string());
        let why = match end {
            End::Dismissed => Gone::LetGo,
            _ => Gone::Left(end.to_string()),
        };
        // The registry ends with the engine.
        let _told = tell_gone.send(why);
        Ok(end)
    }

    async fn converse(&mut self, serving: &mut Serving) -> Result<std::convert::Infallible, End> {
        let silence = self.room.silence_max;
        loop {
            let is_out = serving.out.is_some();
            let bounds = if is_out { self.room.response() } else { TALK };
            tokio::select! {
                batch = serving.peer.next_batch() => {
                    self.send(serving, batch.ok_or(End::Dismissed)?).await?;
                }
                message = self.wire.next_message(bounds) => {
                    let said = frames::read(&message?)?;
                    self.hear(serving, said).await?;
                }
                // One that computes is silent; how long a batch may take is the dispatcher's to say.
                () = sleep(silence), if !is_out => return Err(End::Silent(silence)),
            }
        }
    }

    async fn send(&mut self, serving: &mut Serving, batch: OwnedBatch) -> Result<(), End> {
        if serving.out.is_some() {
            return Err(End::TwoBatches);
        }
        let inputs = batches::inputs(&batch);
        if let Some(refused) = batches::refuse_empty(batch.id, serving.input_type, &inputs) {
            return Ok(serving.peer.answer(refused)?);
        }
        let message = serving.messages;
        serving.messages = message.wrapping_add(1);
        serving.out = Some(Out { batch: batch.id, rows: batch.rows, message });
        Ok(self.wire.send(&frames::predict(message, serving.input_type, &inputs)).await?)
    }

    async fn hear(&mut self, serving: &mut Serving, said: Said) -> Result<(), End> {
        match said {
            Said::Heartbeat => Ok(self.wire.send(&frames::heartbeat(Beat::KeepAlive)).await?),
            // Said twice: it was asked twice.
            Said::NewContainer(_) => Ok(()),
            Said::Response { message, outputs } => {
                let Out { batch, rows, .. } = serving.settle(message)?;
                Ok(serving.peer.answer(batches::reply(batch, rows, &outputs))?)
            }
        }
    }

    /// Without a word, as Clipper does: it sees that nobody answers, and tries again in its own time.
    async fn ignore(&mut self) {
        while self.next().await.is_ok() {}
    }

    /// What a peer that broke the protocol has to wait before it is let go.
    async fn part(self, end: &End) {
        if end.is_fault() {
            sleep(PENANCE).await;
        }
    }
}

/// A container that is a replica.
struct Serving {
    peer: PeerEnd,
    input_type: InputType,
    out: Option<Out>,
    /// Sent so far, which numbers the next.
    messages: u32,
}

impl Serving {
    /// The batch that a response answers.
    fn settle(&mut self, message: u32) -> Result<Out, End> {
        let out = self.out.take().ok_or(End::NothingAsked)?;
        if out.message == message { Ok(out) } else { Err(End::WrongMessage { got: message }) }
    }
}

fn accepted(new: NewContainer) -> Result<(ModelId, InputType), NoWork> {
    let NewContainer { name, version, input_type, rpc_version } = new;
    // Checked first: it stands in the log.
    let id = ModelId::new(&name, &version)?;
    if rpc_version != Some(RPC_VERSION) {
        let found = rpc_version.map_or("none that it names".into(), |found| found.to_string());
        return Err(NoWork::Version { name, version, found });
    }
    match input_type {
        Some(input_type) => Ok((id, input_type)),
        None => Err(NoWork::InputType { name, version }),
    }
}
