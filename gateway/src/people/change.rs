//! Changes of people: checked, written, read back and committed as one, then in effect at once.

use std::sync::Arc;

use futures::future::BoxFuture;
use kantaloupe_proto::headers;

use super::{model::People, rights, selector::LabelError};
use crate::{
    app::App,
    store::{StoreError, people::PeopleTx},
};

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// It names something that is not there, or no longer.
    #[error("there is no {0}")]
    Gone(String),
    /// Something with this name is there already.
    #[error("{0}")]
    Taken(String),
    /// An organisation has as many of these as it may.
    #[error("there are {0} {1} already, which is the limit")]
    TooMany(usize, &'static str),
    /// Nobody could undo it.
    #[error("the organisation would be left without an administrator who can sign in")]
    LastAdministrator,
    /// A label or a selector breaks their rules.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes a change to its end, whatever becomes of the caller. `work` sees the people before it and writes the rows.
///
/// When this returns, the change is in effect: rights that were taken away are gone, and the streams that had them are
/// told to end.
pub(crate) async fn change<T: Send + 'static>(
    app: &Arc<App>,
    work: impl for<'a> FnOnce(&'a People, &'a mut PeopleTx) -> BoxFuture<'a, Result<T, ChangeError>>
    + Send
    + 'static,
) -> Result<T, ChangeError> {
    let inner = Arc::clone(app);
    app.to_the_end(async move {
        let _lock = inner.changes.lock().await;
        let before = inner.people.current();
        let mut tx = inner.store.change_people().await?;
        let result = work(&before, &mut tx).await?;
        // Read before it is committed: what cannot be read is undone and not half known.
        let next = Arc::new(People::new(tx.read().await?, before.generation + 1));
        if loses_last_admin(&before, &next) {
            return Err(ChangeError::LastAdministrator);
        }
        tx.commit().await?;
        inner.people.replace(Arc::clone(&next));
        inner.auth.reassess(&before, &next);
        inner.revocations.send_replace(());
        Ok(result)
    })
    .await
}

/// Reads the people again after something else changed what they refer to. Call it with the lock of changes held.
pub(crate) async fn reload(app: &App) -> Result<(), StoreError> {
    let before = app.people.current();
    let next = Arc::new(People::new(app.store.people().await?, before.generation + 1));
    app.people.replace(Arc::clone(&next));
    app.auth.reassess(&before, &next);
    app.revocations.send_replace(());
    Ok(())
}

fn loses_last_admin(before: &People, next: &People) -> bool {
    let still = rights::with_admin(next);
    rights::with_admin(before).iter().any(|id| !still.contains(id))
}

/// Whether users and organisations may have this name: what agents take in headers, and nothing that is an id or means
/// something in a path.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if !headers::is_name(name) {
        return Err(format!(
            "name {name:?} has other characters than letters, digits and . _ - @ +, or is empty or longer than {}",
            headers::MAX_NAME
        ));
    }
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(format!("name {name:?} does not begin with a letter or a digit"));
    }
    if uuid::Uuid::try_parse(name).is_ok() {
        return Err(format!("name {name:?} looks like an id"));
    }
    Ok(())
}
