//! The one thread that writes the store: it takes what waits together, so that many writes cost one trip to the disk, and
//! tells the owners of the rows before it acknowledges.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use portcullis_bundles::seal::Vault;
use tokio::sync::oneshot;

use super::frame::Change;
use super::lock::{self, Lock};
use super::log::Log;
use super::{Rows, StoreError, Table};

/// Most writes that are taken together.
const MOST_TOGETHER: usize = 256;
/// How often is looked whether the other process writes no more.
const LOOK: Duration = Duration::from_millis(50);
/// How long a write waits for that.
const PATIENCE: Duration = Duration::from_secs(10);

type Done = oneshot::Sender<Result<(), StoreError>>;

/// What the thread is asked.
pub(super) enum Order {
    Write {
        changes: Vec<Change>,
        done: Done,
    },
    Attach {
        table: Table,
        rows: Arc<dyn Rows>,
        done: Done,
    },
    Release {
        done: oneshot::Sender<()>,
    },
}

/// A write that waits.
struct Waiting {
    changes: Vec<Change>,
    done: Done,
    since: Instant,
}

/// Who writes.
enum Turn {
    /// This process.
    Ours(#[allow(dead_code)] Lock),
    /// Another one, until it ends or hands over.
    Theirs,
    /// Another one, for good.
    Over,
}

pub(super) struct Writer {
    directory: PathBuf,
    vault: Arc<Vault>,
    orders: Receiver<Order>,
    log: Log,
    turn: Turn,
    rows: BTreeMap<Table, Arc<dyn Rows>>,
    waiting: Vec<Waiting>,
}

impl Writer {
    pub(super) fn open(directory: &Path, vault: Arc<Vault>, orders: Receiver<Order>) -> Result<Self, StoreError> {
        let turn = lock::writer(directory)?.map_or(Turn::Theirs, Turn::Ours);
        let log = Log::open(directory, &vault, matches!(turn, Turn::Ours(_)))?;
        Ok(Self {
            directory: directory.to_owned(),
            vault,
            orders,
            log,
            turn,
            rows: BTreeMap::new(),
            waiting: Vec::new(),
        })
    }

    /// Until nobody can ask any more.
    pub(super) fn run(mut self) {
        loop {
            let order = match self.turn {
                Turn::Theirs => match self.orders.recv_timeout(LOOK) {
                    Ok(order) => Some(order),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return,
                },
                Turn::Ours(_) | Turn::Over => match self.orders.recv() {
                    Ok(order) => Some(order),
                    Err(_) => return,
                },
            };
            let mut next = order;
            while let Some(order) = next.take() {
                let full = self.waiting.len() >= MOST_TOGETHER;
                let other = self.take(order);
                if other.is_none() && !full {
                    next = self.orders.try_recv().ok();
                }
                if next.is_none() || other.is_some() {
                    self.write();
                }
                if let Some(other) = other {
                    self.answer(other);
                    next = self.orders.try_recv().ok();
                }
            }
            if matches!(self.turn, Turn::Theirs) {
                self.try_turn();
            }
        }
    }

    /// Keeps a write for later; gives back what is not one.
    fn take(&mut self, order: Order) -> Option<Order> {
        let Order::Write { changes, done } = order else {
            return Some(order);
        };
        self.waiting.push(Waiting {
            changes,
            done,
            since: Instant::now(),
        });
        None
    }

    fn answer(&mut self, order: Order) {
        match order {
            Order::Attach { table, rows, done } => {
                let told = self.tell_all(table, &*rows);
                if told.is_ok() {
                    self.rows.insert(table, rows);
                }
                let _ = done.send(told);
            }
            Order::Release { done } => {
                self.turn = Turn::Over;
                let _ = done.send(());
            }
            Order::Write { changes, done } => {
                let _ = self.take(Order::Write { changes, done });
            }
        }
    }

    fn tell_all(&self, table: Table, rows: &dyn Rows) -> Result<(), StoreError> {
        for row in self.log.rows(&self.vault, Some(table))? {
            rows.apply(&row.key, row.value.as_deref()).map_err(StoreError::Row)?;
        }
        Ok(())
    }

    /// Writes what waits, where it may.
    fn write(&mut self) {
        match self.turn {
            Turn::Ours(_) => {}
            Turn::Theirs => {
                let (late, waiting) = std::mem::take(&mut self.waiting)
                    .into_iter()
                    .partition(|waiting| waiting.since.elapsed() > PATIENCE);
                self.waiting = waiting;
                refuse(late, &StoreError::Elsewhere);
                return;
            }
            Turn::Over => return refuse(std::mem::take(&mut self.waiting), &StoreError::Elsewhere),
        }
        let waiting = std::mem::take(&mut self.waiting);
        if waiting.is_empty() {
            return;
        }
        let writes: Vec<&[Change]> = waiting.iter().map(|waiting| &*waiting.changes).collect();
        if let Err(error) = self.log.append(&self.vault, &writes) {
            tracing::error!(%error, "the store was not written");
            return refuse(waiting, &error);
        }
        for waiting in waiting {
            for change in &waiting.changes {
                self.tell(change);
            }
            let _ = waiting.done.send(Ok(()));
        }
        if self.log.wants_compaction()
            && let Err(error) = self.log.compact(&self.vault)
        {
            tracing::error!(%error, "the store could not be written anew");
        }
    }

    fn tell(&self, change: &Change) {
        let told = self
            .rows
            .get(&change.table)
            .map(|rows| rows.apply(&change.key, change.value.as_deref()));
        if let Some(Err(error)) = told {
            tracing::error!(error, "a row was written that its owner does not understand");
        }
    }

    /// Goes on where the other process stopped, if it has.
    fn try_turn(&mut self) {
        // Those that wait too long.
        self.write();
        let lock = match lock::writer(&self.directory) {
            Ok(Some(lock)) => lock,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "the store's lock cannot be had");
                return;
            }
        };
        match Log::open(&self.directory, &self.vault, true) {
            Ok(log) => {
                let before = std::mem::replace(&mut self.log, log);
                self.turn = Turn::Ours(lock);
                self.catch_up(&before);
                self.write();
            }
            Err(error) => {
                tracing::error!(%error, "the store cannot be taken over: nothing is written to it");
                self.turn = Turn::Over;
            }
        }
    }

    /// What the other process wrote since this one has read the file.
    fn catch_up(&self, before: &Log) {
        for (table, rows) in &self.rows {
            let now: HashSet<&[u8]> = self.log.keys(*table).collect();
            for gone in before.keys(*table).filter(|key| !now.contains(key)) {
                self.tell(&Change {
                    table: *table,
                    key: gone.into(),
                    value: None,
                });
            }
            if let Err(error) = self.tell_all(*table, &**rows) {
                tracing::error!(%error, "rows of the store could not be read again");
            }
        }
    }
}

fn refuse(waiting: Vec<Waiting>, error: &StoreError) {
    for waiting in waiting {
        let _ = waiting.done.send(Err(error.clone()));
    }
}
