//! Ending when the user says so.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Tells of Ctrl-C and of the end that a service manager asks for. A second Ctrl-C ends the program at once.
#[derive(Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Listens from here on.
    pub fn listen() -> io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (tell, told) = watch::channel(false);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if tell.send_replace(true) {
                    std::process::exit(130);
                }
            }
        });
        Ok(Self(told))
    }

    /// Waits for it.
    pub async fn requested(&self) {
        // The sender lives as long as the program.
        let _ = self.0.clone().wait_for(|stop| *stop).await;
    }

    /// Does something until it is done; `None` if the user ended it before.
    pub async fn or<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.requested() => None,
        }
    }
}
