//! The bus: translation between callers and the service, nothing else.
//!
//! `own` is our interface, `rauc` that of the RAUC project, for its unmodified command line and for hawkBit clients.

mod arguments;
mod own;
mod rauc;
mod rauc_slots;

use ipc::updater::{BUS_NAME, OBJECT};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use zbus::Connection;
use zbus::fdo::RequestNameFlags;

use crate::service::{Notice, Service};

/// RAUC's well-known name.
pub const RAUC_BUS_NAME: &str = "de.pengutronix.rauc";
/// RAUC's object.
pub const RAUC_OBJECT: &str = "/";

/// Puts both objects on a connection and then takes the names, so that no call finds half a service; then tells listeners
/// what happens, for as long as the task that it returns lives.
pub async fn serve(connection: &Connection, service: Service) -> zbus::Result<JoinHandle<()>> {
    let server = connection.object_server();
    let own = own::Updater1::new(service.clone());
    let rauc = rauc::Installer::new(service.clone());
    server.at(OBJECT, own).await?;
    server.at(RAUC_OBJECT, rauc).await?;
    let notices = service.notices();
    for name in [BUS_NAME, RAUC_BUS_NAME] {
        // As RAUC does: no other program can take it away, and after a predecessor whose end the bus has not seen yet it
        // is ours a moment later.
        connection
            .request_name_with_flags(name, RequestNameFlags::empty())
            .await?;
    }
    Ok(tokio::spawn(forward(connection.clone(), service, notices)))
}

async fn forward(
    connection: Connection,
    service: Service,
    mut notices: tokio::sync::broadcast::Receiver<Notice>,
) {
    loop {
        let notice = match notices.recv().await {
            Ok(notice) => notice,
            // Whoever was too slow reads the state as it is now.
            Err(RecvError::Lagged(_)) => {
                if let Err(error) = catch_up(&connection, &service).await {
                    tracing::warn!("a signal was not sent: {error}");
                }
                Notice::Changed
            }
            Err(RecvError::Closed) => return,
        };
        let told = tell(&connection, &service, &notice).await;
        if let Err(error) = told {
            tracing::warn!("a signal was not sent: {error}");
        }
    }
}

/// The end of an installation may be among what was missed: RAUC's clients wait for it.
async fn catch_up(connection: &Connection, service: &Service) -> zbus::Result<()> {
    let rauc = connection
        .object_server()
        .interface::<_, rauc::Installer>(RAUC_OBJECT)
        .await?;
    match rauc::missed_end(&rauc, service).await {
        Some(end) => rauc::tell(&rauc, service, &end).await,
        None => Ok(()),
    }
}

async fn tell(connection: &Connection, service: &Service, notice: &Notice) -> zbus::Result<()> {
    let server = connection.object_server();
    let own = server.interface::<_, own::Updater1>(OBJECT).await?;
    let rauc = server.interface::<_, rauc::Installer>(RAUC_OBJECT).await?;
    rauc::tell(&rauc, service, notice).await?;
    own::tell(&own, service, notice).await
}
