//! Why the store did not do what was asked.

/// SQLite's primary result codes that need different words to the operator.
const SQLITE_READONLY: u32 = 8;
const SQLITE_IOERR: u32 = 10;
const SQLITE_FULL: u32 = 13;
const SQLITE_CANTOPEN: u32 = 14;

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// Another cluster of the organisation has this name.
    #[error("the name is taken")]
    NameTaken,
    /// No space left for the database.
    #[error("the disk that holds the database is full")]
    Full(#[source] sqlx::Error),
    /// The database cannot be opened, read or written.
    #[error("the database cannot be opened, read or written: {0}")]
    Unusable(#[source] sqlx::Error),
    /// The database is of a newer release or damaged.
    #[error("the database's schema does not fit this release: {0}")]
    Schema(#[source] Box<sqlx::migrate::MigrateError>),
    /// The process ends.
    #[error("the gateway is stopping")]
    Stopped,
    /// Anything else.
    #[error("the database answered: {0}")]
    Other(#[source] sqlx::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        // The code is SQLite's extended result code in decimal; its low byte is the primary code.
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .and_then(|code| code.parse::<u32>().ok())
            .map(|code| code & 0xff);
        match code {
            Some(SQLITE_FULL) => Self::Full(error),
            Some(SQLITE_READONLY | SQLITE_IOERR | SQLITE_CANTOPEN) => Self::Unusable(error),
            _ => Self::Other(error),
        }
    }
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::Execute(error)
            | sqlx::migrate::MigrateError::ExecuteMigration(error, _) => Self::from(error),
            other => Self::Schema(Box::new(other)),
        }
    }
}
