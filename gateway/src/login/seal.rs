//! Encryption of what the database and browsers keep for us, with a key that is in neither.
//!
//! The key is a file of its own in the data folder. Whoever gets a copy of `gateway.db` alone (a backup of it, a
//! stolen file) reads no TOTP secret and no token of an OIDC provider. Whoever reads the whole data folder, or the
//! memory of the process, reads all of it: this is no protection from that.

use std::{io, path::Path};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hkdf,
};

use crate::files;

/// File in the data folder.
pub(super) const FILE: &str = "login.key";
/// Bytes of the key in the file.
const KEY_LEN: usize = 32;
/// First byte of what is sealed, so that another form can be told from this one.
const VERSION: u8 = 1;

/// What something is sealed for. Each has a key of its own, so that one cannot be passed off as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The secret of an authenticator app, in the database.
    Totp,
    /// A refresh token of an OIDC provider, in the database.
    RefreshToken,
    /// A login that is under way at the provider, in the browser's cookie.
    Login,
    /// A device login that is under way, in the hands of the program that started it.
    Device,
    /// A session that waits to be taken by the page that the browser was sent to.
    Handover,
}

impl Purpose {
    const ALL: [Self; 5] = [
        Self::Totp,
        Self::RefreshToken,
        Self::Login,
        Self::Device,
        Self::Handover,
    ];

    /// Never to be changed: what was sealed under one name is not readable under another.
    const fn name(self) -> &'static str {
        match self {
            Self::Totp => "kantaloupe totp",
            Self::RefreshToken => "kantaloupe refresh-token",
            Self::Login => "kantaloupe oidc-login",
            Self::Device => "kantaloupe oidc-device",
            Self::Handover => "kantaloupe oidc-handover",
        }
    }
}

/// The keys. `Debug` shows nothing of them.
pub(crate) struct Seals([RandomizedNonceKey; Purpose::ALL.len()]);

impl std::fmt::Debug for Seals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seals")
    }
}

impl Seals {
    /// Reads the key of the data folder, making it at first start.
    pub(crate) fn open(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut key = [0; KEY_LEN];
                aws_lc_rs::rand::fill(&mut key).expect("the process's cryptographic generator yields bytes");
                let text = format!("{}\n", hex::encode(key));
                files::write_private(&path, text.as_bytes())?;
                text
            }
            Err(error) => return Err(error),
        };
        let mut key = [0; KEY_LEN];
        hex::decode_to_slice(text.trim(), &mut key).map_err(|_| {
            let what = format!("{FILE} is not {} hexadecimal digits", 2 * KEY_LEN);
            io::Error::new(io::ErrorKind::InvalidData, what)
        })?;
        Ok(Self::from_key(&key))
    }

    fn from_key(key: &[u8; KEY_LEN]) -> Self {
        let master = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(key);
        Self(Purpose::ALL.map(|purpose| {
            let mut derived = [0; KEY_LEN];
            master
                .expand(&[purpose.name().as_bytes()], hkdf::HKDF_SHA256)
                .and_then(|okm| okm.fill(&mut derived))
                .expect("HKDF gives as many bytes as its hash has");
            RandomizedNonceKey::new(&AES_256_GCM, &derived).expect("32 bytes are a key of AES-256")
        }))
    }

    fn key(&self, purpose: Purpose) -> &RandomizedNonceKey {
        &self.0[purpose as usize]
    }

    /// Encrypts. `owner` (a user's id, say) has to be given again to decrypt: a sealed value that is moved to another
    /// row is of no use there.
    pub(crate) fn seal(&self, purpose: Purpose, owner: &str, plain: &[u8]) -> Vec<u8> {
        let mut text = plain.to_vec();
        let nonce = self
            .key(purpose)
            .seal_in_place_append_tag(Aad::from(owner.as_bytes()), &mut text)
            .expect("AES-GCM encrypts what is shorter than 64 GiB");
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + text.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(nonce.as_ref());
        sealed.append(&mut text);
        sealed
    }

    /// Decrypts; `None` if it was sealed with another key, for something or somebody else, or changed.
    pub(crate) fn unseal(&self, purpose: Purpose, owner: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (VERSION, rest) = sealed.split_first().map(|(version, rest)| (*version, rest))? else {
            return None;
        };
        let (nonce, text) = rest.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = text.to_vec();
        let plain = self
            .key(purpose)
            .open_in_place(nonce, Aad::from(owner.as_bytes()), &mut text)
            .ok()?
            .len();
        text.truncate(plain);
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_sealed_is_read_with_the_same_key_for_the_same_thing_only() {
        let dir = tempfile::tempdir().unwrap();
        let seals = Seals::open(dir.path()).unwrap();
        let sealed = seals.seal(Purpose::Totp, "user-1", b"secret");
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        assert_ne!(
            sealed,
            seals.seal(Purpose::Totp, "user-1", b"secret"),
            "a new nonce each time"
        );

        // The file is the key: another start reads the same.
        let again = Seals::open(dir.path()).unwrap();
        assert_eq!(again.unseal(Purpose::Totp, "user-1", &sealed).unwrap(), b"secret");
        assert_eq!(again.unseal(Purpose::Totp, "user-2", &sealed), None);
        for purpose in Purpose::ALL {
            let read = again.unseal(purpose, "user-1", &sealed);
            assert_eq!(read.is_some(), purpose == Purpose::Totp, "{purpose:?}");
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(again.unseal(Purpose::Totp, "user-1", &changed), None, "byte {at}");
            assert_eq!(
                again.unseal(Purpose::Totp, "user-1", &sealed[..at]),
                None,
                "{at} bytes"
            );
        }
        let other = Seals::from_key(&[7; KEY_LEN]);
        assert_eq!(other.unseal(Purpose::Totp, "user-1", &sealed), None);
    }

    #[test]
    fn the_file_is_private_and_a_damaged_one_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        Seals::open(dir.path()).unwrap();
        let path = dir.path().join(FILE);
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        std::fs::write(&path, "abc\n").unwrap();
        assert_eq!(
            Seals::open(dir.path()).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "abc\n");
    }
}
