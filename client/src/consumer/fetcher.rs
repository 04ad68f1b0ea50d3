//! The task that keeps one fetch under way to each broker, and the pieces that wait to be taken.
//!
//! A partition takes part in a fetch when it is neither in one already nor paused nor stopped, and when less of it is
//! buffered than a fetch may bring. What a fetch may bring is reserved before it leaves, so that buffered bytes stay
//! within their bound whatever brokers answer (a single batch larger than the bound excepted, which comes whole).
//!
//! A fetch from which a partition was left out because enough of it is buffered must not keep that one waiting: the broker
//! answers it at once, with or without records, and when it had none it is asked again after the next piece was taken.
//!
//! A partition that is read up to an offset is not fetched past it.
//!
//! What can't be mended by asking again stops the partition, and the application is told. Where it is the answer as a whole
//! that can't be taken, the partitions are fetched one by one first, so that only the one at fault stops.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use protocol::error::KafkaError;
use protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData, ReplicaState,
};
use protocol::native;
use protocol::types::{BrokerId, LeaderEpoch, Offset, PartitionIndex, TopicId};
use protocol::wire::Payload;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::{ConsumeError, ConsumeProblem, ConsumerOptions, Fetched, OffsetReset, RoundTrip};
use crate::Client;
use crate::admin::{At, Isolation, Partition};
use crate::client::is_misdirected;
use crate::connection::{Answer, Connection};
use crate::error::{ConnectionError, SendError};
use crate::limits::{ABSENCES_MAX, FETCHED_PIECES_MAX};
use crate::ways::Ways;
use executor::Signal;

/// How long the task sleeps at most while a partition waits that nothing else may wake it for.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// All that a consumer is.
pub(super) struct Fetcher {
    client: Client,
    ways: Rc<Ways>,
    options: ConsumerOptions,
    assigned: RefCell<BTreeMap<Partition, Rc<Assigned>>>,
    pieces: RefCell<VecDeque<Piece>>,
    /// Bytes of pieces that wait, and what fetches under way may bring.
    buffered_bytes: Cell<usize>,
    lanes: RefCell<FxHashMap<BrokerId, Rc<Lane>>>,
    /// Counts the pieces that were taken.
    takes: Cell<u64>,
    /// Counts assignments.
    incarnations: Cell<u64>,
    /// Where the next round begins, so that no partition always comes last.
    turn: Cell<usize>,
    /// Raised when something can be taken.
    pub arrived: Signal,
    has_ended: Cell<bool>,
}

/// A partition that is read.
struct Assigned {
    topic: Rc<str>,
    index: PartitionIndex,
    /// Which assignment this is; it stays where the partition is sought.
    incarnation: u64,
    /// After the last record handed out.
    position: Cell<Offset>,
    /// Where the next fetch begins.
    fetch_at: Cell<Offset>,
    /// Nothing is fetched from here on.
    until: Cell<Offset>,
    buffered_bytes: Cell<usize>,
    /// What is under way, if anything: nothing else is asked meanwhile.
    is_busy: Cell<bool>,
    is_paused: Cell<bool>,
    has_stopped: Cell<bool>,
    /// An answer that it had a part in could not be taken: it is fetched alone, to see whether it is the one at fault.
    is_suspect: Cell<bool>,
    /// How many answers of the cluster in a row had no such partition, and the last of them.
    absences: Cell<u32>,
    absent_in: Cell<Option<u64>>,
    /// It was sought or taken away: what is under way or waits is not wanted any more.
    is_stale: Cell<bool>,
    not_before: Cell<Option<Instant>>,
}

/// Something to be taken.
struct Piece {
    of: Rc<Assigned>,
    outcome: Result<Fetched, ConsumeError>,
}

#[derive(Default)]
struct Lane {
    is_fetching: Cell<bool>,
    /// After how many pieces taken the broker had nothing, asked in a hurry.
    drained_at: Cell<Option<u64>>,
}

/// A fetch to be sent.
struct Plan {
    broker: BrokerId,
    lane: Rc<Lane>,
    connection: Connection,
    /// Whether the broker may wait for records.
    is_patient: bool,
    partitions: Vec<(Rc<Assigned>, TopicId, LeaderEpoch)>,
}

/// Where a partition is fetched from.
enum Whereabouts {
    Led(TopicId, BrokerId, LeaderEpoch),
    /// Nobody leads it now, or the cluster was not asked yet.
    Unknown,
    /// The cluster says that there is no such partition.
    Absent,
    /// The cluster does not tell, and never will.
    Refused(KafkaError),
}

impl Assigned {
    fn new(partition: &Partition, at: Offset, incarnation: u64) -> Rc<Self> {
        Rc::new(Self {
            topic: partition.topic.as_str().into(),
            index: partition.index,
            incarnation,
            position: Cell::new(at),
            fetch_at: Cell::new(at),
            until: Cell::new(Offset(i64::MAX)),
            buffered_bytes: Cell::new(0),
            is_busy: Cell::new(false),
            is_paused: Cell::new(false),
            has_stopped: Cell::new(false),
            is_suspect: Cell::new(false),
            absences: Cell::new(0),
            absent_in: Cell::new(None),
            is_stale: Cell::new(false),
            not_before: Cell::new(None),
        })
    }

    /// Whether it would be fetched if there were room for it.
    fn is_running(&self) -> bool {
        !self.is_paused.get() && !self.has_stopped.get() && self.fetch_at.get() < self.until.get()
    }

    /// The cluster says that it is not there; whether it has said so often enough.
    fn is_absent_in(&self, generation: u64) -> bool {
        if self.absent_in.replace(Some(generation)) != Some(generation) {
            self.absences.update(|count| count + 1);
        }
        self.absences.get() >= ABSENCES_MAX
    }

    fn is_there(&self) {
        self.absent_in.set(None);
        self.absences.set(0);
    }

    fn partition(&self) -> Partition {
        Partition { topic: self.topic.to_string(), index: self.index }
    }
}

impl Plan {
    /// Takes another partition along, unless that or the one that is there is to be fetched alone.
    fn take_along(&mut self, state: &Rc<Assigned>, id: TopicId, epoch: LeaderEpoch) {
        if !state.is_suspect.get() && !self.partitions[0].0.is_suspect.get() {
            self.partitions.push((Rc::clone(state), id, epoch));
        }
    }
}

impl Fetcher {
    pub(super) fn start(client: &Client, options: ConsumerOptions) -> Rc<Self> {
        let fetcher = Rc::new(Self {
            client: client.clone(),
            ways: Ways::new(client.cluster()),
            options,
            assigned: RefCell::default(),
            pieces: RefCell::default(),
            buffered_bytes: Cell::new(0),
            lanes: RefCell::default(),
            takes: Cell::new(0),
            incarnations: Cell::new(0),
            turn: Cell::new(0),
            arrived: Signal::default(),
            has_ended: Cell::new(false),
        });
        glommio::spawn_local(Rc::clone(&fetcher).run()).detach();
        fetcher
    }

    pub(super) fn isolation(&self) -> Isolation {
        self.options.isolation
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.buffered_bytes.get()
    }

    pub(super) fn end(&self) {
        self.has_ended.set(true);
        self.ways.close();
        self.ways.work.raise();
    }

    pub(super) fn assign(&self, partitions: &[(Partition, Offset)]) {
        let incarnation = self.next_incarnation();
        let anew = partitions
            .iter()
            .map(|(partition, at)| (partition.clone(), Assigned::new(partition, *at, incarnation)));
        let before = self.assigned.replace(anew.collect());
        before.values().for_each(|assigned| assigned.is_stale.set(true));
        self.forget_stale();
    }

    pub(super) fn add(&self, partitions: &[(Partition, Offset)]) {
        let incarnation = self.next_incarnation();
        let mut assigned = self.assigned.borrow_mut();
        for (partition, at) in partitions {
            let anew = Assigned::new(partition, *at, incarnation);
            if let Some(before) = assigned.insert(partition.clone(), anew) {
                before.is_stale.set(true);
            }
        }
        drop(assigned);
        self.forget_stale();
    }

    pub(super) fn remove(&self, partitions: &BTreeSet<Partition>) {
        self.assigned.borrow_mut().retain(|partition, state| {
            let stays = !partitions.contains(partition);
            state.is_stale.set(!stays);
            stays
        });
        self.forget_stale();
    }

    pub(super) fn seek(&self, partition: &Partition, to: Offset) -> bool {
        let mut assigned = self.assigned.borrow_mut();
        let Some(place) = assigned.get_mut(partition) else { return false };
        let anew = Assigned::new(partition, to, place.incarnation);
        anew.is_paused.set(place.is_paused.get());
        anew.until.set(place.until.get());
        std::mem::replace(place, anew).is_stale.set(true);
        drop(assigned);
        self.forget_stale();
        true
    }

    pub(super) fn pause(&self, partition: &Partition, paused: bool) {
        if let Some(assigned) = self.assigned.borrow().get(partition) {
            assigned.is_paused.set(paused);
        }
        self.ways.work.raise();
    }

    pub(super) fn read_until(&self, partition: &Partition, until: Offset) {
        if let Some(assigned) = self.assigned.borrow().get(partition) {
            assigned.until.set(until);
        }
        self.ways.work.raise();
    }

    /// Which assignment of a partition is read, if any is.
    pub(super) fn incarnation(&self, partition: &Partition) -> Option<u64> {
        self.assigned.borrow().get(partition).map(|assigned| assigned.incarnation)
    }

    fn next_incarnation(&self) -> u64 {
        self.incarnations.update(|count| count + 1);
        self.incarnations.get()
    }

    pub(super) fn positions(&self) -> Vec<(Partition, Offset)> {
        let assigned = self.assigned.borrow();
        assigned.iter().map(|(partition, state)| (partition.clone(), state.position.get())).collect()
    }

    /// Throws away pieces that nobody wants any more.
    fn forget_stale(&self) {
        self.pieces.borrow_mut().retain(|piece| {
            let is_wanted = !piece.of.is_stale.get();
            if !is_wanted && let Ok(fetched) = &piece.outcome {
                self.release(fetched.size_bytes());
            }
            is_wanted
        });
        self.ways.work.raise();
    }

    fn release(&self, bytes: usize) {
        self.buffered_bytes.update(|held| held - bytes);
    }

    /// The next piece, if there is one.
    pub(super) fn take(&self) -> Option<Result<Fetched, ConsumeError>> {
        let Piece { of, outcome } = self.pieces.borrow_mut().pop_front()?;
        assert!(!of.is_stale.get(), "stale pieces are thrown away when they become so");
        if let Ok(fetched) = &outcome {
            self.release(fetched.size_bytes());
            of.buffered_bytes.update(|held| held - fetched.size_bytes());
            of.position.set(fetched.next_offset());
            self.takes.update(|count| count + 1);
            self.ways.work.raise();
        }
        Some(outcome)
    }

    async fn run(self: Rc<Self>) {
        while !self.has_ended.get() {
            let work = self.ways.work.next();
            let alarm = self.round(Instant::now());
            work.wait_until(alarm).await;
        }
    }

    /// Sends the fetches that can be sent; when to look again at the latest.
    fn round(self: &Rc<Self>, now: Instant) -> Option<Instant> {
        let (plans, is_blocked) = self.plan(now);
        for plan in plans {
            self.dispatch(plan);
        }
        is_blocked.then(|| now + LOOK_AGAIN)
    }

    /// What to fetch from whom; whether some partition waits for what may raise no signal.
    fn plan(self: &Rc<Self>, now: Instant) -> (Vec<Plan>, bool) {
        let assigned = self.assigned.borrow();
        let crowded = self.crowded(&assigned);
        let mut plans: Vec<Plan> = Vec::new();
        let mut is_blocked = false;
        let turn = self.turn.get().checked_rem(assigned.len()).unwrap_or(0);
        self.turn.set(turn + 1);
        for state in assigned.values().skip(turn).chain(assigned.values().take(turn)) {
            if state.is_busy.get() || !state.is_running() || self.is_full(state) {
                continue;
            }
            if state.not_before.get().is_some_and(|moment| moment > now) {
                is_blocked = true;
                continue;
            }
            let Some((id, broker, epoch)) = self.leader_of(state) else {
                is_blocked |= state.is_running();
                continue;
            };
            match plans.iter_mut().find(|plan| plan.broker == broker) {
                Some(plan) => plan.take_along(state, id, epoch),
                None => {
                    let is_crowded = crowded.contains(&broker);
                    let Some((lane, connection)) = self.way_to(broker, is_crowded) else { continue };
                    let partitions = vec![(Rc::clone(state), id, epoch)];
                    let is_patient = !is_crowded && !state.is_suspect.get();
                    plans.push(Plan { broker, lane, connection, is_patient, partitions });
                }
            }
        }
        (plans, is_blocked)
    }

    fn is_full(&self, state: &Assigned) -> bool {
        state.buffered_bytes.get() >= self.options.partition_bytes_max
    }

    /// The brokers that lead a partition of which enough is buffered: it is left out, and must not wait for the others.
    fn crowded(&self, assigned: &BTreeMap<Partition, Rc<Assigned>>) -> SmallVec<[BrokerId; 8]> {
        let full = assigned.values().filter(|state| state.is_running() && self.is_full(state));
        let leaders = full.filter_map(|state| match self.look_for(state) {
            Whereabouts::Led(_, broker, _) => Some(broker),
            Whereabouts::Unknown | Whereabouts::Absent | Whereabouts::Refused(_) => None,
        });
        leaders.collect()
    }

    /// Where a partition is, as far as the cluster says.
    fn look_for(&self, state: &Assigned) -> Whereabouts {
        let cluster = self.client.cluster();
        let Some(topic) = cluster.known(&state.topic) else {
            return match cluster.refusal(&state.topic) {
                Some(KafkaError::UnknownTopicOrPartition | KafkaError::UnknownTopicId) => Whereabouts::Absent,
                Some(error) if !error.retriable() => Whereabouts::Refused(error),
                Some(_) => Whereabouts::Unknown,
                None => {
                    cluster.want(&state.topic);
                    Whereabouts::Unknown
                }
            };
        };
        let Ok(described) = topic.partition(state.index) else { return Whereabouts::Absent };
        match described.leader {
            Some(leader) => Whereabouts::Led(topic.id, leader, described.leader_epoch),
            None => Whereabouts::Unknown,
        }
    }

    /// Who leads a partition. Where nobody does, the cluster is asked again; where there is none to be led, it stops.
    fn leader_of(self: &Rc<Self>, state: &Rc<Assigned>) -> Option<(TopicId, BrokerId, LeaderEpoch)> {
        match self.look_for(state) {
            Whereabouts::Led(id, broker, epoch) => {
                state.is_there();
                return Some((id, broker, epoch));
            }
            Whereabouts::Refused(error) => self.stop(state, ConsumeProblem::Refused(error)),
            Whereabouts::Absent if state.is_absent_in(self.client.cluster().generation()) => {
                self.stop(state, ConsumeProblem::Gone);
            }
            Whereabouts::Absent | Whereabouts::Unknown => self.ways.refresh(),
        }
        None
    }

    /// The connection to a broker that has no fetch under way. One that leads a partition of which enough is buffered, and
    /// that had nothing of the others, is not asked again before the application has taken something.
    fn way_to(self: &Rc<Self>, broker: BrokerId, is_crowded: bool) -> Option<(Rc<Lane>, Connection)> {
        let lane = Rc::clone(self.lanes.borrow_mut().entry(broker).or_default());
        let is_drained = is_crowded && lane.drained_at.get() == Some(self.takes.get());
        if lane.is_fetching.get() || is_drained {
            return None;
        }
        Some((lane, self.ways.to(broker)?))
    }

    fn dispatch(self: &Rc<Self>, plan: Plan) {
        let options = &self.options;
        let room = options.buffered_bytes_max.saturating_sub(self.buffered_bytes.get());
        let reserved = room.min(options.fetch_bytes_max);
        let is_crowded = self.pieces.borrow().len() >= FETCHED_PIECES_MAX;
        // Room comes when pieces are taken, which raises the signal.
        if reserved == 0 || is_crowded {
            return;
        }
        let reply = match plan.connection.try_send(&request(&plan, options, reserved)) {
            Ok(reply) => reply,
            Err(error) => return self.settle_unsent(&plan, error),
        };
        self.buffered_bytes.update(|held| held + reserved);
        plan.lane.is_fetching.set(true);
        plan.partitions.iter().for_each(|(state, ..)| state.is_busy.set(true));
        let (fetcher, takes, sent_at) = (Rc::clone(self), self.takes.get(), Instant::now());
        let waiting = async move {
            let outcome = reply.await;
            let round_trip = RoundTrip { sent_at, answered_at: Instant::now() };
            fetcher.release(reserved);
            plan.lane.is_fetching.set(false);
            plan.partitions.iter().for_each(|(state, ..)| state.is_busy.set(false));
            let before = fetcher.buffered_bytes();
            fetcher.settle(&plan, outcome, round_trip);
            let has_brought = fetcher.buffered_bytes() > before;
            plan.lane.drained_at.set((!plan.is_patient && !has_brought).then_some(takes));
            fetcher.ways.work.raise();
        };
        glommio::spawn_local(waiting).detach();
    }

    /// A fetch was not sent.
    fn settle_unsent(self: &Rc<Self>, plan: &Plan, error: SendError) {
        match error {
            SendError::Encode(reason) => self.stop_all(plan, &ConsumeProblem::Unsendable(reason)),
            SendError::Connection(error @ ConnectionError::Unsupported { .. }) => {
                self.stop_all(plan, &ConsumeProblem::Unanswerable(error));
            }
            SendError::Full | SendError::Connection(_) => {
                // The next round connects anew.
                plan.connection.close();
                self.put_off(plan);
                self.ways.work.raise();
            }
        }
    }

    fn put_off(&self, plan: &Plan) {
        let later = Instant::now() + self.client.cluster().backoff(1);
        plan.partitions.iter().for_each(|(state, ..)| state.not_before.set(Some(later)));
    }

    fn stop_all(&self, plan: &Plan, problem: &ConsumeProblem) {
        let wanted = plan.partitions.iter().filter(|(state, ..)| !state.is_stale.get());
        wanted.for_each(|(state, ..)| self.stop(state, problem.clone()));
    }

    /// A fetch was answered, or will never be.
    fn settle(self: &Rc<Self>, plan: &Plan, outcome: Result<Answer, ConnectionError>, round_trip: RoundTrip) {
        let settled = outcome.and_then(|answer| {
            let response: FetchResponse<'_> = answer.decode()?;
            let refused = response.error_code.into_result().err();
            if refused.is_none() {
                plan.partitions.iter().for_each(|(state, ..)| state.is_suspect.set(false));
                self.settle_partitions(plan, &answer, &response, round_trip);
            }
            Ok(refused)
        });
        match settled {
            Ok(None) => {}
            Ok(Some(error)) if !error.retriable() => self.stop_all(plan, &ConsumeProblem::Refused(error)),
            Err(error @ (ConnectionError::Malformed { .. } | ConnectionError::AnswerSize { .. })) => {
                plan.connection.close();
                self.suspect(plan, error);
            }
            Ok(Some(_)) | Err(_) => {
                self.put_off(plan);
                self.ways.refresh();
            }
        }
    }

    /// An answer can't be taken, and the next one would be no better: whoever is at fault stops.
    fn suspect(&self, plan: &Plan, error: ConnectionError) {
        if plan.partitions.len() == 1 {
            return self.stop_all(plan, &ConsumeProblem::Unanswerable(error));
        }
        plan.partitions.iter().for_each(|(state, ..)| state.is_suspect.set(true));
    }

    fn settle_partitions(
        self: &Rc<Self>,
        plan: &Plan,
        answer: &Answer,
        response: &FetchResponse<'_>,
        round_trip: RoundTrip,
    ) {
        let body = answer.body();
        let mut cursor = 0;
        for topic in &response.responses {
            for data in &topic.partitions {
                let Some(place) = find(plan, cursor, (topic.topic, topic.topic_id), data.partition_index)
                else {
                    continue;
                };
                cursor = place + 1;
                let state = &plan.partitions[place].0;
                if !state.is_stale.get() {
                    self.settle_partition(state, data, &body, round_trip);
                }
            }
        }
    }

    fn settle_partition(
        self: &Rc<Self>,
        state: &Rc<Assigned>,
        data: &PartitionData<'_>,
        body: &bytes::Bytes,
        round_trip: RoundTrip,
    ) {
        let at = state.fetch_at.get();
        match data.error_code.into_result() {
            Ok(()) => {}
            Err(KafkaError::OffsetOutOfRange) => return self.reset(state, at),
            // A producer's word: send it again. What is in the log stays as it is.
            Err(error @ KafkaError::CorruptMessage) => {
                return self.stop(state, ConsumeProblem::Refused(error));
            }
            Err(error) if is_misdirected(error) || error.retriable() => {
                state.not_before.set(Some(Instant::now() + self.client.cluster().backoff(1)));
                return self.ways.refresh();
            }
            Err(error) => return self.stop(state, ConsumeProblem::Refused(error)),
        }
        state.not_before.set(None);
        let records = data.records.as_ref().and_then(Payload::borrowed).unwrap_or_default();
        if records.is_empty() {
            return;
        }
        let bytes = body.slice_ref(records);
        let fetched = match Fetched::new(Rc::clone(&state.topic), state.index, bytes, at, self.options.read) {
            Ok(fetched) => fetched,
            Err(error) => return self.stop(state, error.into()),
        };
        if fetched.size_bytes() == 0 {
            return;
        }
        let aborted = match self.options.isolation {
            Isolation::ReadCommitted => data.aborted_transactions.clone().unwrap_or_default(),
            Isolation::ReadUncommitted => Vec::new(),
        };
        let fetched = fetched.with_answer(data.high_watermark, aborted, state.incarnation, round_trip);
        state.fetch_at.set(fetched.next_offset());
        state.buffered_bytes.update(|held| held + fetched.size_bytes());
        self.buffered_bytes.update(|held| held + fetched.size_bytes());
        self.put(state, Ok(fetched));
    }

    fn put(&self, state: &Rc<Assigned>, outcome: Result<Fetched, ConsumeError>) {
        self.pieces.borrow_mut().push_back(Piece { of: Rc::clone(state), outcome });
        self.arrived.raise();
    }

    fn stop(&self, state: &Rc<Assigned>, reason: ConsumeProblem) {
        state.has_stopped.set(true);
        let (topic, offset) = (Rc::clone(&state.topic), state.fetch_at.get());
        let error = ConsumeError { topic, partition: state.index, offset, reason };
        self.put(state, Err(error));
    }

    /// The position is not there: goes on where the options say.
    fn reset(self: &Rc<Self>, state: &Rc<Assigned>, at: Offset) {
        let to = match self.options.reset {
            OffsetReset::Earliest => At::Earliest,
            OffsetReset::Latest => At::Latest,
            OffsetReset::Fail => return self.stop(state, ConsumeProblem::OutOfRange(at)),
        };
        state.is_busy.set(true);
        let (fetcher, state) = (Rc::clone(self), Rc::clone(state));
        let looking = async move {
            let wanted = [(state.partition(), to)];
            let found = fetcher.client.admin().offsets(&wanted, fetcher.options.isolation).await;
            state.is_busy.set(false);
            match found {
                _ if state.is_stale.get() => {}
                Ok(found) => state.fetch_at.set(found.first().copied().flatten().unwrap_or(Offset(0))),
                Err(error) => fetcher.stop(&state, ConsumeProblem::Reset(Rc::new(error))),
            }
            fetcher.ways.work.raise();
        };
        glommio::spawn_local(looking).detach();
    }
}

fn request<'a>(plan: &'a Plan, options: &ConsumerOptions, bytes_max: usize) -> FetchRequest<'a> {
    let mut topics: Vec<FetchTopic<'a>> = Vec::new();
    for (state, id, epoch) in &plan.partitions {
        let partition = FetchPartition {
            partition: state.index,
            current_leader_epoch: *epoch,
            fetch_offset: state.fetch_at.get(),
            last_fetched_epoch: LeaderEpoch::UNKNOWN,
            log_start_offset: Offset(-1),
            partition_max_bytes: to_i32(options.partition_bytes_max),
            replica_directory_id: [0; 16],
            high_watermark: Offset(i64::MAX),
        };
        match topics.iter_mut().find(|topic| topic.topic == &*state.topic) {
            Some(topic) => topic.partitions.push(partition),
            None => {
                topics.push(FetchTopic { topic: &state.topic, topic_id: *id, partitions: vec![partition] })
            }
        }
    }
    let wait_max = i32::try_from(options.wait_max.as_millis()).unwrap_or(i32::MAX);
    FetchRequest {
        cluster_id: None,
        replica_id: BrokerId(-1),
        replica_state: ReplicaState { replica_id: BrokerId(-1), replica_epoch: -1 },
        max_wait_ms: if plan.is_patient { wait_max } else { 0 },
        min_bytes: options.wait_bytes_min,
        max_bytes: to_i32(bytes_max),
        isolation_level: options.isolation.wire(),
        session_id: 0,
        session_epoch: -1,
        topics,
        forgotten_topics_data: Vec::new(),
        rack_id: "",
        native_version: native::VERSION,
    }
}

/// Where a partition is in the plan, looked for from `cursor` on.
fn find(plan: &Plan, cursor: usize, (name, id): (&str, TopicId), index: PartitionIndex) -> Option<usize> {
    let is_it = |place: &usize| {
        let (state, its_id, _) = &plan.partitions[*place];
        // An answer names the topic in old versions and gives its id in new ones.
        state.index == index && if name.is_empty() { *its_id == id } else { *state.topic == *name }
    };
    let count = plan.partitions.len();
    (cursor..count).chain(0..cursor.min(count)).find(is_it)
}

fn to_i32(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
