//! Answers whose readers do not read, so that they do not take the tunnel from everybody else.
//!
//! What has come for a reader and was not read holds a part of the session's window, up to a megabyte for each answer; when
//! the window is used up, nothing comes for anybody. An answer that has made no step for [`STALLED`] counts as stalled. While all
//! stalled ones together may hold less than their share, nothing happens: whoever pages through a log with `less` may take an hour.
//! Beyond it, or beyond one user's share, whoever holds most loses what has stalled for longest.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use kantaloupe_tunnel::session::{BoxError, DATA_CONNECTION_WINDOW, DATA_STREAM_WINDOW};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::cluster_body::Answering;
use crate::auth::Identity;

/// An answer that made no step for this long has stalled. Longer than a reader on a bad line needs for its next bytes, and so
/// short that others wait a second when the window has been filled within a moment.
const STALLED: Duration = Duration::from_secs(1);
/// How often the readers are looked at while there may be too many.
const LOOK: Duration = Duration::from_millis(200);
/// What stalled answers may hold of the session's window: a quarter of it is always left to those who read.
const SHARE: u64 = DATA_CONNECTION_WINDOW as u64 / 4 * 3;
/// The same for those of one user: 40 answers.
const USER_SHARE: u64 = DATA_CONNECTION_WINDOW as u64 / 8 * 5;

/// Why an answer ended early.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("it was not read, and its place was needed for others")]
pub(crate) struct Evicted;

/// The answers and streams of one data session that may hold some of its window.
#[derive(Debug)]
pub(crate) struct Backlog {
    readers: Mutex<Vec<Arc<Reader>>>,
    /// There may be too many.
    many: Notify,
    evicted: Counter,
}

/// An answer or a stream, as the backlog sees it.
#[derive(Debug)]
pub(crate) struct Reader {
    identity: Arc<Identity>,
    request: uuid::Uuid,
    state: Mutex<State>,
    content: Content,
}

#[derive(Debug)]
struct State {
    /// Since when something has waited for the reader.
    behind: Option<Instant>,
    /// What may wait at most, bytes.
    holds: u64,
    evicted: bool,
}

#[derive(Debug)]
enum Content {
    /// A plain answer; `None` once it was ended.
    Answer(Box<Mutex<Option<Answering>>>),
    /// An upgraded stream ends itself when this is cancelled.
    Stream(CancellationToken),
}

/// Takes the reader out of the backlog when dropped.
#[derive(Debug)]
pub(crate) struct Listed {
    backlog: Arc<Backlog>,
    reader: Arc<Reader>,
}

impl Backlog {
    pub(crate) fn new(evicted: Counter) -> Self {
        Self {
            readers: Mutex::default(),
            many: Notify::new(),
            evicted,
        }
    }

    pub(super) fn add_answer(self: &Arc<Self>, answer: Answering) -> Listed {
        let (identity, request) = (answer.identity(), answer.request());
        let holds = unread(&answer.size_hint());
        let content = Content::Answer(Box::new(Mutex::new(Some(answer))));
        self.add(identity, request, holds, content)
    }

    pub(super) fn add_stream(self: &Arc<Self>, identity: Arc<Identity>, request: uuid::Uuid) -> Listed {
        let content = Content::Stream(CancellationToken::new());
        self.add(identity, request, DATA_STREAM_WINDOW.into(), content)
    }

    fn add(
        self: &Arc<Self>,
        identity: Arc<Identity>,
        request: uuid::Uuid,
        holds: u64,
        content: Content,
    ) -> Listed {
        let reader = Arc::new(Reader {
            identity,
            request,
            state: Mutex::new(State {
                behind: None,
                holds,
                evicted: false,
            }),
            content,
        });
        let mut readers = self.readers.lock();
        readers.push(Arc::clone(&reader));
        let many = is_much(&readers);
        drop(readers);
        if many {
            self.many.notify_one();
        }
        Listed {
            backlog: Arc::clone(self),
            reader,
        }
    }

    /// Ends what has stalled, for as long as the session lives.
    pub(crate) async fn watch(self: Arc<Self>, ended: impl Future<Output = ()>) {
        let looks = async {
            loop {
                self.many.notified().await;
                while is_much(&self.readers.lock()) {
                    sleep(LOOK).await;
                    self.relieve(Instant::now());
                }
            }
        };
        tokio::select! {
            () = ended => {}
            () = looks => {}
        }
    }

    fn relieve(&self, now: Instant) {
        let readers = self.readers.lock().clone();
        let stalled: Vec<(&Arc<Reader>, Stalled<'_>)> = readers
            .iter()
            .filter_map(|reader| Some((reader, reader.stalled(now)?)))
            .collect();
        for index in choose(stalled.iter().map(|(_, stalled)| *stalled)) {
            let reader = stalled[index].0;
            tracing::warn!(
                user = %reader.identity.user_name, request_id = %reader.request,
                "an answer was ended: it was not read, and its place was needed for others"
            );
            self.evicted.inc();
            reader.evict();
        }
    }
}

/// A reader that takes nothing.
#[derive(Clone, Copy, Debug)]
struct Stalled<'a> {
    user: &'a str,
    since: Instant,
    holds: u64,
}

/// Whether it is worth looking at each reader.
fn is_much(readers: &[Arc<Reader>]) -> bool {
    readers.len() as u64 * u64::from(DATA_STREAM_WINDOW) > USER_SHARE
}

/// What is to be ended, by index: of whoever holds most, what has stalled for longest.
fn choose<'a>(stalled: impl Iterator<Item = Stalled<'a>>) -> Vec<usize> {
    let mut oldest: Vec<(usize, Stalled<'_>)> = stalled.enumerate().collect();
    oldest.sort_by_key(|(_, stalled)| stalled.since);
    let mut all = 0;
    let mut users = BTreeMap::<&str, (u64, VecDeque<(usize, u64)>)>::new();
    for (index, stalled) in oldest {
        all += stalled.holds;
        let (holds, answers) = users.entry(stalled.user).or_default();
        *holds += stalled.holds;
        answers.push_back((index, stalled.holds));
    }
    let mut chosen = Vec::new();
    while let Some((most, answers)) = users.values_mut().max_by_key(|(holds, _)| *holds)
        && (*most > USER_SHARE || all > SHARE)
        && let Some((index, holds)) = answers.pop_front()
    {
        *most -= holds;
        all -= holds;
        chosen.push(index);
    }
    chosen
}

/// What may wait of an answer of which so much is left, bytes.
fn unread(left: &SizeHint) -> u64 {
    let window = u64::from(DATA_STREAM_WINDOW);
    left.upper().map_or(window, |left| left.min(window))
}

impl Reader {
    fn stalled(&self, now: Instant) -> Option<Stalled<'_>> {
        let state = self.state.lock();
        let since = state.behind.filter(|_| !state.evicted)?;
        (now.saturating_duration_since(since) >= STALLED).then_some(Stalled {
            user: &self.identity.user_id,
            since,
            holds: state.holds,
        })
    }

    fn evict(&self) {
        self.state.lock().evicted = true;
        match &self.content {
            Content::Answer(answer) => {
                let answer = answer.lock().take();
                // Its drop resets the stream in the tunnel and writes the end into the audit.
                if let Some(answer) = answer {
                    answer.because(&Evicted);
                }
            }
            Content::Stream(evicted) => evicted.cancel(),
        }
    }
}

impl Listed {
    /// Something waits for the reader from now on, or did already.
    pub(super) fn waits(&self) {
        self.reader.state.lock().behind.get_or_insert_with(Instant::now);
    }

    /// The reader takes more.
    pub(super) fn goes_on(&self) {
        self.reader.state.lock().behind = None;
    }

    /// Ends when a stream has to end.
    pub(super) async fn evicted(&self) {
        match &self.reader.content {
            Content::Stream(evicted) => evicted.cancelled().await,
            Content::Answer(_) => std::future::pending().await,
        }
    }

    pub(super) fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Content::Answer(answer) = &self.reader.content else {
            return Poll::Ready(None);
        };
        let mut answer = answer.lock();
        let Some(answer) = &mut *answer else {
            return Poll::Ready(Some(Err(Evicted.into())));
        };
        let frame = answer.poll_frame(cx);
        let mut state = self.reader.state.lock();
        state.behind = None;
        if let Poll::Ready(Some(Ok(_))) = &frame {
            // Until it is asked for more.
            state.behind = Some(Instant::now());
            state.holds = unread(&answer.size_hint());
        }
        frame
    }

    /// Looks at the answer, if it was not ended.
    pub(super) fn answer<T>(&self, look: impl FnOnce(&Answering) -> T) -> Option<T> {
        match &self.reader.content {
            Content::Answer(answer) => answer.lock().as_ref().map(look),
            Content::Stream(_) => None,
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut readers = self.backlog.readers.lock();
        if let Some(at) = readers
            .iter()
            .rposition(|reader| Arc::ptr_eq(reader, &self.reader))
        {
            readers.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// Of each user, so many answers of a megabyte; those named first have stalled for longest.
    fn chosen(users: &[(&str, usize)]) -> HashMap<String, usize> {
        let start = Instant::now();
        let all: Vec<Stalled<'_>> = users
            .iter()
            .flat_map(|(user, n)| std::iter::repeat_n(*user, *n))
            .zip(0..)
            .map(|(user, n)| Stalled {
                user,
                since: start + Duration::from_millis(n),
                holds: MIB,
            })
            .collect();
        let mut counts = HashMap::new();
        for index in choose(all.iter().copied()) {
            *counts.entry(all[index].user.to_owned()).or_default() += 1;
        }
        counts
    }

    #[test]
    fn nothing_ends_while_there_is_room() {
        assert!(chosen(&[("ann", 40), ("bob", 8)]).is_empty());
    }

    #[test]
    fn who_holds_more_than_his_share_pays_first() {
        let ended = chosen(&[("ann", 10), ("bob", 100)]);
        assert_eq!(ended, HashMap::from([("bob".to_owned(), 62)]));
    }

    #[test]
    fn of_many_who_hold_alike_each_loses_some() {
        let ended = chosen(&[("ann", 20), ("bob", 20), ("eve", 20), ("zoe", 3)]);
        assert_eq!(ended.values().sum::<usize>(), 15);
        assert!(
            ended.values().all(|n| *n == 5) && !ended.contains_key("zoe"),
            "{ended:?}"
        );
    }

    #[test]
    fn the_oldest_of_a_user_end_first() {
        let start = Instant::now();
        let all = (0..50).map(|n| Stalled {
            user: "ann",
            since: start + Duration::from_millis(100 - n),
            holds: MIB,
        });
        let mut ended = choose(all);
        ended.sort_unstable();
        assert_eq!(ended, (40..50).collect::<Vec<_>>());
    }
}
