//! The DSSE envelope: exact bytes, one ed25519 signature, and `Verified<T>`.
//!
//! Nothing is canonicalised: the payload is signed and stored verbatim and is parsed only
//! after its signature was verified. [`Verified`] can be built nowhere else.
//! Encoding: <https://github.com/secure-systems-lab/dsse/blob/master/protocol.md>.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signature;
use ed25519_dalek::pkcs8::DecodePublicKey as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::gate::record as gate;
use crate::ids::{ContentId, KeyId};
use crate::json::{self, StrictError};
use crate::record::MAX_RECORD_BYTES;

pub use ed25519_dalek::{SigningKey, VerifyingKey};

/// The envelope's own media type.
pub const MEDIA_TYPE: &str = "application/vnd.dsse+json";

/// Longest envelope accepted, in bytes: the longest gate in base64 and some room. What it holds is
/// bounded by its type, too: [`max_payload_bytes`].
pub const MAX_ENVELOPE_BYTES: usize = 11_500_000;

/// Longest payload of this type, in bytes: gates hold every sample of many cells, all else is
/// shorter.
pub fn max_payload_bytes(payload_type: &str) -> usize {
    if payload_type == gate::PAYLOAD_TYPE {
        gate::MAX_GATE_BYTES
    } else {
        MAX_RECORD_BYTES
    }
}

/// An envelope as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// What the payload is.
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    /// The payload in base64.
    pub payload: String,
    /// Exactly one.
    pub signatures: Vec<EnvelopeSignature>,
}

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvelopeSignature {
    /// SHA-256 of the public key.
    pub keyid: KeyId,
    /// The signature in base64.
    pub sig: String,
}

/// Why an envelope was refused.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// Not an envelope.
    #[error("read the envelope: {0}")]
    Malformed(String),
    /// The signature does not fit bytes and key.
    #[error("verify the signature: it does not fit these bytes and this key")]
    BadSignature,
    /// Signed, but not a payload of the expected type.
    #[error("accept the payload type: {0:?} is expected here")]
    WrongType(&'static str),
    /// Signed, but not a strict payload.
    #[error(transparent)]
    Schema(#[from] StrictError),
}

/// Why a text or a byte string is no public key to rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PublicKeyError {
    /// Neither 64 hexadecimal digits nor a PEM public key.
    #[error(
        "read the public key: 64 hexadecimal digits, or a PEM block of an ed25519 public key, are needed"
    )]
    Spelling,
    /// A point that many messages verify against, or one with a second spelling.
    #[error("accept the public key: it is weak or not in its canonical form")]
    Weak,
}

/// An envelope taken apart, still unverified: the key must be looked up first.
#[derive(Debug, Clone)]
pub struct Opened {
    payload_type: String,
    payload: Vec<u8>,
    key_id: KeyId,
    signature: [u8; 64],
    content_id: ContentId,
}

/// A payload whose signature was verified before it was parsed.
#[derive(Debug, Clone)]
pub struct Verified<T> {
    value: T,
    opened: Opened,
    public_key: [u8; 32],
}

impl<T> Verified<T> {
    /// The parsed payload.
    pub fn value(&self) -> &T {
        &self.value
    }
    /// The envelope's content id.
    pub fn content_id(&self) -> ContentId {
        self.opened.content_id
    }
    /// The key that signed.
    pub fn key_id(&self) -> KeyId {
        self.opened.key_id
    }
    /// That key itself.
    pub fn public_key(&self) -> [u8; 32] {
        self.public_key
    }
    /// The exact bytes that were signed.
    pub fn payload(&self) -> &[u8] {
        &self.opened.payload
    }
    /// What the payload is.
    pub fn payload_type(&self) -> &str {
        &self.opened.payload_type
    }
    /// The signature.
    pub fn signature(&self) -> &[u8; 64] {
        &self.opened.signature
    }
}

impl Opened {
    /// The content id of the bytes as they are, whether or not the signature fits.
    pub fn content_id(&self) -> ContentId {
        self.content_id
    }

    /// Who claims to have signed.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// What the payload claims to be.
    pub fn payload_type(&self) -> &str {
        &self.payload_type
    }

    /// Verifies the signature, then the type, then parses strictly: in this order.
    pub fn verify<T: DeserializeOwned + Serialize>(
        self,
        key: &VerifyingKey,
        expected_type: &'static str,
    ) -> Result<Verified<T>, VerifyError> {
        if key_id(key) != self.key_id {
            return Err(VerifyError::BadSignature);
        }
        let message = pre_authentication_encoding(&self.payload_type, &self.payload);
        key.verify_strict(&message, &Signature::from_bytes(&self.signature))
            .map_err(|_| VerifyError::BadSignature)?;
        if self.payload_type != expected_type {
            return Err(VerifyError::WrongType(expected_type));
        }
        let value = json::parse_strict(&self.payload)?;
        Ok(Verified {
            value,
            opened: self,
            public_key: key.to_bytes(),
        })
    }
}

/// Takes an envelope's bytes apart without trusting them: bounds, one signature, base64 once.
pub fn open(bytes: &[u8]) -> Result<Opened, VerifyError> {
    let malformed = |what: &str| VerifyError::Malformed(what.to_owned());
    if bytes.len() > MAX_ENVELOPE_BYTES {
        return Err(VerifyError::Malformed(format!(
            "it is longer than {MAX_ENVELOPE_BYTES} bytes"
        )));
    }
    let envelope: Envelope =
        json::parse_strict(bytes).map_err(|e| VerifyError::Malformed(e.to_string()))?;
    let [signature] = envelope.signatures.as_slice() else {
        return Err(malformed("exactly one signature is needed"));
    };
    let payload = STANDARD
        .decode(&envelope.payload)
        .map_err(|_| malformed("the payload is not base64"))?;
    let signature_bytes = STANDARD
        .decode(&signature.sig)
        .ok()
        .and_then(|sig| <[u8; 64]>::try_from(sig).ok())
        .ok_or_else(|| malformed("the signature is not 64 bytes in base64"))?;
    Ok(Opened {
        content_id: content_id(&envelope.payload_type, &payload),
        key_id: signature.keyid,
        payload_type: envelope.payload_type,
        payload,
        signature: signature_bytes,
    })
}

/// Stored parts taken apart again, still unverified: as [`open`] would give them.
pub fn open_parts(
    payload_type: String,
    payload: Vec<u8>,
    key_id: KeyId,
    signature: [u8; 64],
) -> Opened {
    Opened {
        content_id: content_id(&payload_type, &payload),
        payload_type,
        payload,
        key_id,
        signature,
    }
}

/// Reads a public key in hex or as a PEM block, and refuses one that nothing should rely on.
pub fn read_public_key(text: &str) -> Result<VerifyingKey, PublicKeyError> {
    let text = text.trim();
    if text.starts_with("-----BEGIN ") {
        let key = VerifyingKey::from_public_key_pem(text).map_err(|_| PublicKeyError::Spelling)?;
        return public_key(key.as_bytes());
    }
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| PublicKeyError::Spelling)?;
    public_key(&bytes)
}

/// The public key of 32 bytes; refused are points of small order, points with a torsion part,
/// and spellings that differ from the canonical one (`to_bytes` would echo its input).
pub fn public_key(bytes: &[u8; 32]) -> Result<VerifyingKey, PublicKeyError> {
    let key = VerifyingKey::from_bytes(bytes).map_err(|_| PublicKeyError::Weak)?;
    let point = key.to_edwards();
    if key.is_weak() || !point.is_torsion_free() || point.compress().as_bytes() != bytes {
        return Err(PublicKeyError::Weak);
    }
    Ok(key)
}

/// Signs exact payload bytes.
pub fn sign(payload_type: &str, payload: &[u8], key: &SigningKey) -> (ContentId, Envelope) {
    use ed25519_dalek::Signer as _;
    let message = pre_authentication_encoding(payload_type, payload);
    let envelope = Envelope {
        payload_type: payload_type.to_owned(),
        payload: STANDARD.encode(payload),
        signatures: vec![EnvelopeSignature {
            keyid: key_id(&key.verifying_key()),
            sig: STANDARD.encode(key.sign(&message).to_bytes()),
        }],
    };
    (content_id(payload_type, payload), envelope)
}

/// The envelope of stored parts, as it was received but for the spelling of its JSON.
pub fn reassemble(
    payload_type: &str,
    payload: &[u8],
    key_id: KeyId,
    signature: &[u8; 64],
) -> Envelope {
    Envelope {
        payload_type: payload_type.to_owned(),
        payload: STANDARD.encode(payload),
        signatures: vec![EnvelopeSignature {
            keyid: key_id,
            sig: STANDARD.encode(signature),
        }],
    }
}

/// SHA-256 of the public key.
pub fn key_id(key: &VerifyingKey) -> KeyId {
    KeyId(Sha256::digest(key.as_bytes()).into())
}

/// SHA-256 of the pre-authentication encoding: the same for every spelling of the envelope.
pub fn content_id(payload_type: &str, payload: &[u8]) -> ContentId {
    ContentId(Sha256::digest(pre_authentication_encoding(payload_type, payload)).into())
}

/// DSSE v1: what is signed.
fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    );
    [head.as_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const TYPE: &str = "application/example";

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn sealed(payload: &[u8]) -> Vec<u8> {
        serde_json::to_vec(&sign(TYPE, payload, &key()).1).expect("an envelope is JSON")
    }

    fn verify(bytes: &[u8]) -> Result<Verified<Value>, VerifyError> {
        open(bytes)?.verify(&key().verifying_key(), TYPE)
    }

    #[test]
    fn the_encoding_is_that_of_the_standard() {
        // The protocol's own test vector.
        let pae = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(
            pae,
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn the_longest_payload_of_every_type_fits_into_an_envelope() {
        let other = max_payload_bytes(crate::record::PAYLOAD_TYPE);
        let of_gate = max_payload_bytes(gate::PAYLOAD_TYPE);
        assert_eq!((other, of_gate), (MAX_RECORD_BYTES, gate::MAX_GATE_BYTES));
        let payload = vec![b'1'; of_gate];
        let envelope = sign(gate::PAYLOAD_TYPE, &payload, &key()).1;
        let bytes = serde_json::to_vec(&envelope).expect("an envelope is JSON");
        assert!(bytes.len() <= MAX_ENVELOPE_BYTES, "{}", bytes.len());
        assert_eq!(open(&bytes).expect("accepted").payload, payload);
    }

    #[test]
    fn a_sealed_payload_is_verified_and_parsed() {
        let verified = verify(&sealed(br#"{"n":1}"#)).expect("honest");
        assert_eq!(verified.value(), &json!({"n": 1}));
        assert_eq!(verified.payload(), br#"{"n":1}"#);
        assert_eq!(verified.content_id(), content_id(TYPE, br#"{"n":1}"#));
    }

    #[test]
    fn another_type_or_key_is_refused() {
        let bytes = sealed(b"{}");
        let other = SigningKey::from_bytes(&[8; 32]).verifying_key();
        let opened = open(&bytes).expect("well formed");
        assert!(matches!(
            opened.clone().verify::<Value>(&other, TYPE),
            Err(VerifyError::BadSignature)
        ));
        assert!(matches!(
            opened.verify::<Value>(&key().verifying_key(), "application/other"),
            Err(VerifyError::WrongType(_))
        ));
    }

    #[test]
    fn a_public_key_is_read_in_either_spelling() {
        use ed25519_dalek::pkcs8::EncodePublicKey as _;
        use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
        let key = key().verifying_key();
        let pem = key
            .to_public_key_pem(LineEnding::default())
            .expect("a key has a PEM form");
        assert_eq!(read_public_key(&hex::encode(key.as_bytes())), Ok(key));
        assert_eq!(read_public_key(&pem), Ok(key));
        assert_eq!(read_public_key("abc"), Err(PublicKeyError::Spelling));
    }

    #[test]
    fn weak_and_second_spellings_of_keys_are_refused() {
        // The identity; the same point spelled with y = p + 1; a point of order 8.
        let mut identity = [0; 32];
        identity[0] = 1;
        let mut again = [0xff; 32];
        again[0] = 0xee;
        again[31] = 0x7f;
        let order_8 = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";
        assert_eq!(public_key(&identity), Err(PublicKeyError::Weak));
        assert_eq!(public_key(&again), Err(PublicKeyError::Weak));
        assert_eq!(read_public_key(order_8), Err(PublicKeyError::Weak));
    }

    #[test]
    fn stored_parts_verify_like_the_envelope_they_came_in() {
        let bytes = sealed(b"{}");
        let first = open(&bytes).expect("well formed");
        let again = open_parts(
            TYPE.to_owned(),
            b"{}".to_vec(),
            first.key_id(),
            first.signature,
        );
        let verified = again
            .verify::<Value>(&key().verifying_key(), TYPE)
            .expect("honest");
        assert_eq!(verified.content_id(), content_id(TYPE, b"{}"));
    }

    #[test]
    fn two_signatures_are_refused() {
        let mut envelope = sign(TYPE, b"{}", &key()).1;
        envelope.signatures.push(envelope.signatures[0].clone());
        let bytes = serde_json::to_vec(&envelope).expect("an envelope is JSON");
        assert!(matches!(open(&bytes), Err(VerifyError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn a_tampered_payload_is_refused(at in 0_usize..20, bit in 0_u8..8) {
            let mut envelope = sign(TYPE, br#"{"decode":12345678}"#, &key()).1;
            let mut payload = STANDARD.decode(&envelope.payload).expect("base64");
            let at = at % payload.len();
            payload[at] ^= 1 << bit;
            envelope.payload = STANDARD.encode(&payload);
            let bytes = serde_json::to_vec(&envelope).expect("an envelope is JSON");
            prop_assert!(matches!(verify(&bytes), Err(VerifyError::BadSignature)));
        }

        #[test]
        fn a_flipped_signature_bit_is_refused(at in 0_usize..64, bit in 0_u8..8) {
            let mut envelope = sign(TYPE, b"{}", &key()).1;
            let mut sig = STANDARD.decode(&envelope.signatures[0].sig).expect("base64");
            sig[at] ^= 1 << bit;
            envelope.signatures[0].sig = STANDARD.encode(&sig);
            let bytes = serde_json::to_vec(&envelope).expect("an envelope is JSON");
            prop_assert!(matches!(verify(&bytes), Err(VerifyError::BadSignature)));
        }

        #[test]
        fn any_bytes_end_in_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(verify(&bytes).is_err());
        }
    }
}
