//! Passwords: argon2id, off the threads that answer requests, a few at a time.
//!
//! One hash takes 19 MiB and some 30 ms of a core on purpose. Without a bound on how many run, a few hundred people
//! who try to log in at once would take all memory and all cores from those who work.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread::available_parallelism,
};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Semaphore;

use crate::ids;

/// Characters at least. Length is what makes a password hard to guess; rules about kinds of characters make people
/// append "1!" (NIST SP 800-63B, section 3.1.1.2).
pub(crate) const MIN_CHARS: usize = 12;
/// Bytes at most: longer than any passphrase, and short enough that hashing it does not count.
pub(crate) const MAX_BYTES: usize = 256;
/// Hashes at the same time, whatever the number of cores: 4 × 19 MiB.
const MAX_AT_ONCE: usize = 4;
/// Attempts that wait for their turn: about two seconds' worth on one core. Who comes after is told to come again.
const MAX_WAITING: usize = 64;
/// Characters of passwords that an administrator has made for somebody: 20 of 36 symbols are 103 bits.
const GENERATED: usize = 20;

/// Why a text is not taken as a new password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Weak {
    /// Too short.
    #[error("the new password is shorter than {MIN_CHARS} characters")]
    Short,
    /// Too long.
    #[error("the new password is longer than {MAX_BYTES} bytes")]
    Long,
    /// One character over and over.
    #[error("the new password is one character over and over")]
    Uniform,
    /// Little more than the name.
    #[error("the new password has little more in it than the user's name")]
    Name,
    /// The old one again.
    #[error("the new password is the old one")]
    Same,
}

/// Why no answer was possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HashError {
    /// Too many wait already.
    #[error("too many logins at once")]
    Busy,
    /// The process ends, or has no memory for a hash.
    #[error("the password could not be hashed")]
    Failed,
}

/// Whether this may become the password of that user.
pub(crate) fn check(user: &str, password: &SecretString) -> Result<(), Weak> {
    let text = password.expose_secret();
    if text.len() > MAX_BYTES {
        return Err(Weak::Long);
    }
    if text.chars().count() < MIN_CHARS {
        return Err(Weak::Short);
    }
    if let Some(first) = text.chars().next()
        && text.chars().all(|c| c == first)
    {
        return Err(Weak::Uniform);
    }
    let (lower, user) = (text.to_lowercase(), user.to_lowercase());
    if !user.is_empty() && lower.replace(&user, "").chars().count() < MIN_CHARS / 2 {
        return Err(Weak::Name);
    }
    Ok(())
}

/// A password for somebody else, to be changed at the first login.
pub(crate) fn generate() -> SecretString {
    ids::random("", GENERATED).into()
}

/// Hashes and compares.
#[derive(Debug)]
pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// A hash that no password has: what is compared with where there is none, so that it takes as long.
    dummy: Arc<OnceLock<String>>,
}

impl Default for Passwords {
    fn default() -> Self {
        let at_once = available_parallelism().map_or(1, usize::from).min(MAX_AT_ONCE);
        Self {
            turns: Arc::new(Semaphore::new(at_once)),
            waiting: AtomicUsize::new(0),
            dummy: Arc::default(),
        }
    }
}

impl Passwords {
    /// The hash of a new password, as a PHC string with its own salt.
    pub(crate) async fn hash(&self, password: SecretString) -> Result<String, HashError> {
        self.in_turn(move || hash(&password)).await?
    }

    /// Whether this is the password of that hash. Without a hash it is not, and that takes as long.
    pub(crate) async fn verify(
        &self,
        stored: Option<String>,
        password: SecretString,
    ) -> Result<bool, HashError> {
        let dummy = Arc::clone(&self.dummy);
        self.in_turn(move || {
            // Longer ones are no passwords here; what cannot be right is compared as well, for the time.
            let known = stored.is_some() && password.expose_secret().len() <= MAX_BYTES;
            let against = match &stored {
                Some(hash) if known => hash,
                _ => {
                    if dummy.get().is_none() {
                        let _ = dummy.set(hash(&generate())?);
                    }
                    dummy.get().expect("set above")
                }
            };
            let parsed = PasswordHash::new(against).map_err(|_| HashError::Failed)?;
            let input = if known { password.expose_secret() } else { "" };
            let equal = Argon2::default()
                .verify_password(input.as_bytes(), &parsed)
                .is_ok();
            Ok(known && equal)
        })
        .await?
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, HashError> {
        let _place = Place::take(&self.waiting)?;
        let turn = Arc::clone(&self.turns)
            .acquire_owned()
            .await
            .map_err(|_| HashError::Failed)?;
        // The turn goes with the work: a caller who hangs up does not let the next one in before it is done.
        #[expect(
            clippy::disallowed_methods,
            reason = "at most as many at once as there are turns"
        )]
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await.map_err(|_| HashError::Failed)
    }
}

fn hash(password: &SecretString) -> Result<String, HashError> {
    // The defaults are argon2id with 19 MiB and 2 passes, OWASP's recommendation.
    let hash: PasswordHash = Argon2::default()
        .hash_password(password.expose_secret().as_bytes())
        .map_err(|_| HashError::Failed)?;
    Ok(hash.to_string())
}

/// A place in the queue.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Result<Self, HashError> {
        let place = Self(waiting);
        if waiting.fetch_add(1, Relaxed) >= MAX_WAITING {
            return Err(HashError::Busy);
        }
        Ok(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    #[tokio::test]
    async fn a_password_is_known_again_and_nothing_else_is() {
        let passwords = Passwords::default();
        let hash = passwords.hash(secret("correct horse battery")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(
            hash,
            passwords.hash(secret("correct horse battery")).await.unwrap(),
            "a salt each"
        );
        let verify = async |stored: Option<&str>, text: &str| {
            passwords.verify(stored.map(str::to_owned), secret(text)).await
        };
        assert_eq!(verify(Some(&hash), "correct horse battery").await, Ok(true));
        assert_eq!(verify(Some(&hash), "correct horse batterx").await, Ok(false));
        assert_eq!(verify(Some(&hash), "").await, Ok(false));
        assert_eq!(verify(None, "correct horse battery").await, Ok(false));
        assert_eq!(verify(None, "").await, Ok(false));
        assert_eq!(verify(Some("garbage"), "x").await, Err(HashError::Failed));
        let long = "x".repeat(MAX_BYTES + 1);
        let of_long = passwords.hash(secret(&long)).await.unwrap();
        assert_eq!(verify(Some(&of_long), &long).await, Ok(false));
    }

    #[tokio::test]
    async fn unknown_users_and_wrong_passwords_take_the_same_time() {
        let passwords = Passwords::default();
        let hash = passwords.hash(secret("correct horse battery")).await.unwrap();
        let _ = passwords.verify(None, secret("warm")).await;
        let mut best = [Duration::MAX; 3];
        let long = "x".repeat(60_000);
        let alike = |best: &[Duration; 3]| {
            let (shortest, longest) = (best.iter().min().unwrap(), best.iter().max().unwrap());
            *longest < *shortest * 3 / 2
        };
        // The machine does other things as well: the shortest of a few counts.
        for _ in 0..20 {
            let cases = [
                (Some(hash.clone()), "wrong"),
                (None, "wrong"),
                (Some(hash.clone()), long.as_str()),
            ];
            for (n, (stored, text)) in cases.into_iter().enumerate() {
                let start = Instant::now();
                assert_eq!(passwords.verify(stored, secret(text)).await, Ok(false));
                best[n] = best[n].min(start.elapsed());
            }
            if alike(&best) {
                break;
            }
        }
        assert!(alike(&best), "{best:?}");
    }

    #[tokio::test]
    async fn a_crowd_is_told_to_come_again_and_the_queue_empties() {
        let passwords = Passwords::default();
        let turns = u32::try_from(passwords.turns.available_permits()).unwrap();
        let held = Arc::clone(&passwords.turns)
            .acquire_many_owned(turns)
            .await
            .unwrap();
        let crowd = (0..MAX_WAITING + 10).map(|_| passwords.in_turn(|| ()));
        let crowd = futures::future::join_all(crowd);
        let (answers, ()) = tokio::join!(crowd, async move {
            tokio::task::yield_now().await;
            drop(held);
        });
        let busy = answers
            .iter()
            .filter(|answer| **answer == Err(HashError::Busy))
            .count();
        assert_eq!(busy, 10);
        assert_eq!(passwords.waiting.load(Relaxed), 0);
    }

    #[test]
    fn new_passwords_are_long_and_not_the_name() {
        for (user, text, want) in [
            ("ann", "correct horse battery", Ok(())),
            ("ann", "密码密码密码密码密码密码", Ok(())),
            ("ann", "short", Err(Weak::Short)),
            ("ann", "密码密码密码密码", Err(Weak::Short)),
            ("ann", "aaaaaaaaaaaaaaaa", Err(Weak::Uniform)),
            ("ann.example", "Ann.Example2026", Err(Weak::Name)),
            ("ann", "annannannannann", Err(Weak::Name)),
            ("", "correct horse battery", Ok(())),
        ] {
            assert_eq!(check(user, &secret(text)), want, "{text}");
        }
        assert_eq!(check("ann", &secret(&"ab".repeat(MAX_BYTES))), Err(Weak::Long));
        assert_eq!(check("ann", &generate()), Ok(()));
        assert!(!format!("{:?}", generate()).contains(generate().expose_secret()));
    }
}
