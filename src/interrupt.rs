//! SIGINT and SIGTERM. The first one asks the command to end after the parts in hand; the second
//! one ends it at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::failure::Exit;

/// How often those who wait for a server look whether they were asked to end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

static REQUESTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Set from the first signal on.
fn requested() -> &'static Arc<AtomicBool> {
    REQUESTED.get_or_init(Arc::default)
}

/// Listens to the signals from now on; the flag is set by the first one.
pub fn listen() -> std::io::Result<Arc<AtomicBool>> {
    for signal in [SIGINT, SIGTERM] {
        // The second one ends the process with the status of an interrupted command.
        let status = i32::from(Exit::Interrupted.code());
        flag::register_conditional_shutdown(signal, status, Arc::clone(requested()))?;
        flag::register(signal, Arc::clone(requested()))?;
    }
    Ok(Arc::clone(requested()))
}

/// The result of some work on a server, or none as soon as a signal comes: a server that does not
/// answer keeps nobody from ending the command.
///
/// Work that is begun after the signal is what the command does to end well, and goes on.
pub async fn unless_interrupted<W: IntoFuture>(work: W) -> Option<W::Output> {
    if requested().load(Ordering::Relaxed) {
        return Some(work.await);
    }
    let signal = async {
        while !requested().load(Ordering::Relaxed) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        biased;
        done = work.into_future() => Some(done),
        () = signal => None,
    }
}
