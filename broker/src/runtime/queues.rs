//! A shard's task queues: what answers clients comes before what tidies up.

use std::cell::Cell;
use std::future::Future;
use std::time::Duration;

use glommio::{Latency, Shares, TaskQueueHandle};

use crate::metrics::{Activity, watched};

/// Which queue a task runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Requests, replies, the journal's writer: what a client waits for.
    Latency,
    /// Reads of data that has left memory: catch-up readers must not hold up the tail.
    CatchUp,
    /// Destaging, retention, sweeps: nobody waits for it, but it must get on.
    Background,
}

impl Queue {
    /// What its tasks do, as far as a watch on stalls knows without being told more.
    fn activity(self) -> Activity {
        match self {
            Self::Latency => Activity::Requests,
            Self::CatchUp => Activity::CatchUp,
            Self::Background => Activity::Upkeep,
        }
    }
}

/// The queues of this thread's executor.
#[derive(Clone, Copy)]
pub struct Queues {
    latency: TaskQueueHandle,
    catch_up: TaskQueueHandle,
    background: TaskQueueHandle,
}

thread_local! {
    static QUEUES: Cell<Option<Queues>> = const { Cell::new(None) };
}

impl Queues {
    /// Makes the queues of this thread's executor; once, before any task is spawned.
    pub fn install() {
        let executor = glommio::executor();
        let queues = Self {
            latency: executor.create_task_queue(
                Shares::Static(1_000),
                Latency::Matters(Duration::from_micros(500)),
                "latency",
            ),
            catch_up: executor.create_task_queue(
                Shares::Static(200),
                Latency::Matters(Duration::from_millis(5)),
                "catch-up",
            ),
            background: executor.create_task_queue(Shares::Static(100), Latency::NotImportant, "background"),
        };
        QUEUES.with(|slot| slot.set(Some(queues)));
    }

    fn handle(self, queue: Queue) -> TaskQueueHandle {
        match queue {
            Queue::Latency => self.latency,
            Queue::CatchUp => self.catch_up,
            Queue::Background => self.background,
        }
    }
}

/// Spawns a task into a queue of this shard; it runs to its end by itself.
pub fn spawn_into(queue: Queue, future: impl Future<Output = ()> + 'static) {
    let queues = QUEUES.with(Cell::get).expect("the queues are installed when the shard starts");
    glommio::spawn_local_into(watched(queue.activity(), future), queues.handle(queue))
        .expect("the shard's queues live as long as it")
        .detach();
}

/// Runs a future in a queue of this shard and waits for it; it ends early where the wait does.
pub async fn run_in<T: 'static>(queue: Queue, future: impl Future<Output = T> + 'static) -> T {
    let queues = QUEUES.with(Cell::get).expect("the queues are installed when the shard starts");
    glommio::spawn_local_into(watched(queue.activity(), future), queues.handle(queue))
        .expect("the shard's queues live as long as it")
        .await
}

/// Spawns a task into the queue of the task that calls.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    glommio::spawn_local(watched(Activity::Requests, future)).detach();
}
