//! Tokens, each for one upload and for some time.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use hmac::digest::{FixedOutput, Update};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::error::{ConfigError, Error, ErrorKind};
use super::uploads::{OperatorUploads, OwnerUploads, Uploads};
use crate::id::UploadId;
use crate::time;
use crate::upload::Identity;

/// The secrets that sign and verify upload tokens. A clone has the same secrets.
///
/// One secret signs. It and any number of others verify, so that a secret can be replaced while
/// tokens are in use: [add](Self::also_verify) the new one on all servers, then let it sign and add
/// the old one, and drop the old one when the last token that it signed has expired.
///
/// ```
/// # fn main() -> Result<(), tower_chunked_upload::ConfigError> {
/// use tower_chunked_upload::TokenKeys;
///
/// # let (this_years, last_years) = ([1; 32], [2; 32]);
/// let keys = TokenKeys::new(this_years)?.also_verify(last_years)?;
/// # Ok(())
/// # }
/// ```
///
/// The guide has [what tokens are for](crate::guide::tokens).
#[derive(Clone)]
#[must_use]
pub struct TokenKeys {
    /// The first one signs.
    keys: Arc<Vec<Hmac<Sha256>>>,
    /// A mistake that the simulation must notice: a token is good for all uploads of its owner.
    #[cfg(test)]
    pub(crate) is_good_for_all: bool,
}

impl TokenKeys {
    /// The least number of bytes of a secret: 32, as many as a signature has.
    pub const MIN_SECRET_BYTES: usize = 32;

    /// Creates keys with the secret that signs. It must be random, the same on all servers that
    /// share the uploads, and used for nothing else.
    ///
    /// # Errors
    /// [`ConfigError`] if the secret has fewer than [32 bytes](Self::MIN_SECRET_BYTES).
    pub fn new(secret: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        let keys = Self {
            keys: Arc::default(),
            #[cfg(test)]
            is_good_for_all: false,
        };
        keys.also_verify(secret)
    }

    /// Adds a secret that only verifies: tokens that it has signed are accepted, and no new ones
    /// are signed with it.
    ///
    /// # Errors
    /// [`ConfigError`] if the secret has fewer than [32 bytes](Self::MIN_SECRET_BYTES).
    pub fn also_verify(mut self, secret: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        let secret = secret.as_ref();
        if secret.len() < Self::MIN_SECRET_BYTES {
            return Err(ConfigError::new("a secret for tokens must have at least 32 bytes"));
        }
        let key = Hmac::new_from_slice(secret);
        let key = key.map_err(|_| ConfigError::new("the secret for tokens has a wrong length"))?;
        Arc::make_mut(&mut self.keys).push(key);
        Ok(self)
    }

    pub(crate) fn sign(&self, upload: Identity, expires: SystemTime) -> UploadToken {
        let mut bytes = Vec::with_capacity(SIGNED + SIGNATURE);
        bytes.push(VERSION);
        bytes.extend_from_slice(&time::millis_since_epoch(expires).to_be_bytes());
        bytes.extend_from_slice(&millis_of(upload.created));
        bytes.extend(HEXLOWER.decode(upload.id.as_str().as_bytes()).unwrap_or_default());
        if let Some(key) = self.keys.first() {
            let signature = key.clone().chain(CONTEXT).chain(&bytes).finalize_fixed();
            bytes.extend_from_slice(&signature);
        }
        UploadToken(BASE64URL_NOPAD.encode(&bytes))
    }

    /// Returns the upload that a token is for and when that was created, if one of the secrets has
    /// signed it and it has not expired. A token that expired is only told from a forged one if it
    /// was good.
    fn verify(&self, token: &str, now: SystemTime) -> Result<(UploadId, [u8; CREATED]), ErrorKind> {
        let (signed, signature) = parse(token).ok_or(ErrorKind::InvalidToken)?;
        let is_signed = |key: &Hmac<Sha256>| {
            Mac::verify_slice(key.clone().chain(CONTEXT).chain(signed), &signature).is_ok()
        };
        if !self.keys.iter().any(is_signed) {
            return Err(ErrorKind::InvalidToken);
        }
        let expires = signed[1..].first_chunk().map_or(0, |millis| u64::from_be_bytes(*millis));
        if time::millis_since_epoch(now) >= expires {
            return Err(ErrorKind::ExpiredToken);
        }
        let mut created = [0; CREATED];
        created.copy_from_slice(&signed[1 + 8..][..CREATED]);
        let id = HEXLOWER.encode(&signed[1 + 8 + CREATED..]);
        let id = id.parse().map_err(|_| ErrorKind::InvalidToken)?;
        Ok((id, created))
    }
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKeys").field("secrets", &self.keys.len()).finish_non_exhaustive()
    }
}

/// A token for one upload: 84 characters (letters, digits, `-` and `_`), so it can be a header
/// value as it is. Do not put it into a URL: URLs end up in logs and in the history of a browser.
///
/// Until it expires, its bearer may do with the upload what the owner may, so it is a secret. It is
/// signed and not encrypted: its bearer can read the [id](UploadId) of the upload, when the upload
/// was created and when the token expires. It contains neither the owner nor the secret. `Debug`
/// does not show it; `Display` and [`as_str`](Self::as_str) do.
#[derive(Clone)]
pub struct UploadToken(String);

impl UploadToken {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UploadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UploadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadToken").finish_non_exhaustive()
    }
}

impl From<UploadToken> for String {
    fn from(token: UploadToken) -> Self {
        token.0
    }
}

impl Uploads {
    /// Signs a token for an upload, whether or not there is one.
    pub(crate) fn sign_token(
        &self,
        keys: &TokenKeys,
        upload: Identity,
        life: Duration,
    ) -> UploadToken {
        let expires = self.engine().now().checked_add(life).unwrap_or_else(time::never);
        keys.sign(upload, expires)
    }

    /// Returns the id of the upload that a token is for. This does not check whether the upload
    /// still exists; [`for_token`](Self::for_token) does.
    ///
    /// # Errors
    /// [`ErrorKind::ExpiredToken`](crate::ErrorKind::ExpiredToken), and
    /// [`ErrorKind::InvalidToken`](crate::ErrorKind::InvalidToken) for everything else that is no
    /// token of these keys.
    pub fn verify_token(&self, keys: &TokenKeys, token: &str) -> Result<UploadId, Error> {
        Ok(keys.verify(token, self.engine().now())?.0)
    }

    /// Returns a handle that acts as the owner of the upload that a token is for, and sees [only
    /// this upload](OwnerUploads::only). The layer does this for the requests of its protocols; use
    /// it for those of your own, such as one that shows the progress.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # use tower_chunked_upload::store::MemoryStore;
    /// use tower_chunked_upload::{NewUpload, Owner, TokenKeys, Uploads};
    ///
    /// # let uploads = Uploads::builder(MemoryStore::new()).build()?;
    /// let keys = TokenKeys::new([7; 32])?; // not this one
    /// let alices = uploads.for_owner(Owner::new("alice"));
    /// let id = alices.create(NewUpload::new()).await?.commit().await?.id;
    /// let token = alices.token(&keys, &id, Duration::from_secs(3600)).await?;
    ///
    /// let one = uploads.for_token(&keys, token.as_str()).await?;
    /// assert_eq!(one.status(&id).await?.owner, Some(Owner::new("alice")));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`verify_token`](Self::verify_token);
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) or
    /// [`ErrorKind::Expired`](crate::ErrorKind::Expired) if the upload is gone, and the errors of
    /// the store.
    pub async fn for_token(&self, keys: &TokenKeys, token: &str) -> Result<OwnerUploads, Error> {
        let (id, created) = keys.verify(token, self.engine().now())?;
        let one = self.as_owner_of(&id, created).await?;
        #[cfg(test)]
        if keys.is_good_for_all {
            return Ok(self.for_owner(one.owner().cloned()));
        }
        Ok(one)
    }

    /// Returns the upload that a token is for, and a handle that acts as its owner and sees only this
    /// upload.
    pub(crate) async fn redeem(
        &self,
        keys: &TokenKeys,
        token: &str,
    ) -> Result<(UploadId, Result<OwnerUploads, Error>), Error> {
        let (id, created) = keys.verify(token, self.engine().now())?;
        match self.as_owner_of(&id, created).await {
            Err(error) if *error.kind() == ErrorKind::InvalidToken => Err(error),
            one => Ok((id, one)),
        }
    }

    /// A key of a creation may give its id to another upload when this one is gone, which the token
    /// is not for.
    async fn as_owner_of(
        &self,
        id: &UploadId,
        created: [u8; CREATED],
    ) -> Result<OwnerUploads, Error> {
        let upload = self.for_operator().access().find(id).await?;
        if millis_of(upload.created) != created {
            return Err(ErrorKind::InvalidToken.into());
        }
        let identity = upload.identity();
        Ok(self.for_owner(upload.owner).only_this(identity))
    }
}

macro_rules! mints {
    ($handle:ident) => {
        impl $handle {
            /// Returns a token for an upload, valid for `life`. A request with the token may do
            /// what the owner may do with this upload, and nothing else.
            ///
            /// The layer takes it in the header `Upload-Token`, if it has [the same
            /// keys](crate::ChunkedUploadLayer::accept_tokens). A token cannot be revoked, except by
            /// cancelling the upload or dropping the secret. It does not extend the life of the
            /// upload.
            ///
            /// # Errors
            /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound),
            /// [`ErrorKind::Expired`](crate::ErrorKind::Expired) and the errors of the store.
            pub async fn token(
                &self,
                keys: &TokenKeys,
                id: &UploadId,
                life: Duration,
            ) -> Result<UploadToken, Error> {
                let access = self.access();
                let upload = access.find_unexpired(id).await?.identity();
                Ok(Uploads::of(&access.engine).sign_token(keys, upload, life))
            }
        }
    };
}

mints!(OwnerUploads);
mints!(OperatorUploads);

/// Takes a text apart into what is signed and its signature, if it could be a token.
fn parse(text: &str) -> Option<([u8; SIGNED], [u8; SIGNATURE])> {
    // Nothing is decoded that is too long.
    if text.len() != BASE64URL_NOPAD.encode_len(SIGNED + SIGNATURE) {
        return None;
    }
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
    let (signed, signature) = bytes.split_first_chunk::<SIGNED>()?;
    (signed[0] == VERSION).then_some((*signed, signature.try_into().ok()?))
}

/// The milliseconds from 1970, which six bytes have room for until the year 10889.
fn millis_of(created: SystemTime) -> [u8; CREATED] {
    let mut millis = [0; CREATED];
    millis.copy_from_slice(&time::millis_since_epoch(created).to_be_bytes()[8 - CREATED..]);
    millis
}

/// What a token consists of. There is no other spelling of the same bytes, since they fill the last
/// letter.
const VERSION: u8 = 1;
/// The version, the milliseconds from 1970 to its expiry and to the creation of the upload, and the
/// id.
const SIGNED: usize = 1 + 8 + CREATED + 16;
const CREATED: usize = 6;
const SIGNATURE: usize = 32;
/// So that a signature that the application has made with the same secret is none of a token.
const CONTEXT: &[u8] = b"tower-chunked-upload token\0";

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;
    use crate::fuzzing;

    fn keys(secret: u8) -> TokenKeys {
        TokenKeys::new([secret; 32]).unwrap()
    }

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(millis)
    }

    fn upload() -> Identity {
        of("5230ec1f59d1485d9d7974b853802e31".parse().unwrap())
    }

    fn of(id: UploadId) -> Identity {
        Identity { id, created: at(1_795_255_200_000) }
    }

    /// What a token for an upload says of it.
    fn says(upload: Identity) -> Result<(UploadId, [u8; CREATED]), ErrorKind> {
        Ok((upload.id, millis_of(upload.created)))
    }

    /// Tokens are in use while servers are replaced, so another spelling is another version.
    #[test]
    fn the_first_version_is_written_so() {
        let token = keys(7).sign(upload(), at(1_795_341_600_000));
        // Computed with Python's hmac.
        let text =
            "AQAAAaICssUAAaH9jGkAUjDsH1nRSF2deXS4U4AuMbKCg4B9Aj0mN3-VCwEu7VHnx3brk_IxzCr28zGf29tN";
        assert_eq!(token.as_str(), text);
        assert_eq!(keys(7).verify(text, at(0)), says(upload()));
    }

    #[test]
    fn a_token_is_good_until_it_expires() {
        let token = keys(7).sign(upload(), at(1000));
        let verify = |keys: TokenKeys, now| keys.verify(token.as_str(), now);
        assert_eq!(verify(keys(7), at(999)), says(upload()));
        assert_eq!(verify(keys(7), at(1000)), Err(ErrorKind::ExpiredToken));
        // Only whoever had one is told that it has expired.
        assert_eq!(verify(keys(8), at(1000)), Err(ErrorKind::InvalidToken));
        let forever = keys(7).sign(upload(), time::never());
        assert_eq!(keys(7).verify(forever.as_str(), at(1 << 49)), says(upload()));
    }

    #[test]
    fn one_secret_signs_and_several_verify() {
        let both = keys(8).also_verify([7; 32]).unwrap();
        let (old, new) = (keys(7).sign(upload(), at(1)), both.sign(upload(), at(1)));
        for token in [&old, &new] {
            assert_eq!(both.verify(token.as_str(), at(0)), says(upload()));
        }
        assert_eq!(keys(8).verify(new.as_str(), at(0)), says(upload()));
        assert_eq!(keys(8).verify(old.as_str(), at(0)), Err(ErrorKind::InvalidToken));
        assert_eq!(keys(7).verify(new.as_str(), at(0)), Err(ErrorKind::InvalidToken));
    }

    #[test]
    fn a_secret_that_can_be_guessed_is_refused() {
        for length in [0, 1, 31] {
            assert!(TokenKeys::new(vec![7; length]).is_err());
            assert!(keys(7).also_verify(vec![7; length]).is_err());
        }
        for length in [32, 33, 64, 65, 1000] {
            assert!(TokenKeys::new(vec![7; length]).is_ok());
        }
    }

    #[test]
    fn debug_shows_neither_the_token_nor_the_secret() {
        let token = keys(7).sign(upload(), at(1));
        assert_eq!(format!("{token:?}"), "UploadToken { .. }");
        let both = keys(7).also_verify([8; 32]).unwrap();
        assert_eq!(format!("{both:?}"), "TokenKeys { secrets: 2, .. }");
    }

    proptest! {
        #[test]
        fn any_upload_comes_back(bits: [u8; 16], millis: u64, before in 1..u64::MAX) {
            let id: UploadId = HEXLOWER.encode(&bits).parse().unwrap();
            // What a system can tell is less than what fits: Windows ends in the year 30828.
            let expires = UNIX_EPOCH.checked_add(Duration::from_millis(millis >> 15)).unwrap();
            let token = keys(7).sign(of(id), expires);
            prop_assert!(token.as_str().bytes().all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it)));
            let now = expires.checked_sub(Duration::from_millis(before)).filter(|it| *it >= UNIX_EPOCH);
            if let Some(now) = now {
                prop_assert_eq!(keys(7).verify(token.as_str(), now), says(of(id)));
            }
        }

        #[test]
        fn no_bit_of_a_token_can_be_another_one(bits: [u8; 16], millis: u32) {
            let id: UploadId = HEXLOWER.encode(&bits).parse().unwrap();
            let token = keys(7).sign(of(id), at(u64::from(millis) + 1));
            let bytes = BASE64URL_NOPAD.decode(token.as_str().as_bytes()).unwrap();
            for bit in 0..bytes.len() * 8 {
                let mut forged = bytes.clone();
                forged[bit / 8] ^= 1 << (bit % 8);
                let forged = BASE64URL_NOPAD.encode(&forged);
                prop_assert_eq!(keys(7).verify(&forged, at(0)), Err(ErrorKind::InvalidToken));
            }
            // Nor can a letter of its text.
            for (place, sign) in token.as_str().char_indices() {
                let mut forged = token.as_str().to_owned();
                let other = if sign == 'A' { "B" } else { "A" };
                forged.replace_range(place..=place, other);
                prop_assert_eq!(keys(7).verify(&forged, at(0)), Err(ErrorKind::InvalidToken));
            }
        }

        #[test]
        fn any_text_is_a_token_or_none(
            text in prop_oneof!["[A-Za-z0-9_-]{80,90}", "AQ[A-Za-z0-9_-]{82}", ".{0,90}", "[A-Za-z0-9+/=]{84}"],
        ) {
            fuzzing::token(text.as_bytes());
        }
    }
}
