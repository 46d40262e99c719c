//! A first contact without a gateway: who the token belongs to, and the bundle as it came. Nothing is kept here.

use std::path::PathBuf;

use bytes::Bytes;
use portcullis_config::control_plane::{ControlPlane, Token};
use portcullis_config::units::Duration;

use super::call::{Caller, Pulled, Trouble};
use super::course::Call;
use super::token::Tokens;
use super::wire::{Introduction, RegisterAnswer, VERSION};

/// Largest bundle that is taken.
const MAX_BUNDLE: u64 = 64 << 20;
/// Longest name of a gateway.
const MOST_NAME: usize = 64;

/// What a control plane said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The name under which it knows this gateway.
    pub edge_id: String,
    /// The bundle, unverified. `None`: there is none yet.
    pub bundle: Option<Bytes>,
}

/// Why a control plane was not joined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotJoined(String);

impl From<Trouble> for NotJoined {
    fn from(trouble: Trouble) -> Self {
        Self(format!("{}: {}", trouble.reason, trouble.detail))
    }
}

/// Registers, and asks for a bundle.
pub async fn join(url: &str, ca: Option<PathBuf>, token: &Token) -> Result<Joined, NotJoined> {
    let day = Duration::from_secs(24 * 3600);
    let written = ControlPlane {
        url: url.to_owned(),
        edge_id: String::new(),
        token: token.clone(),
        region: None,
        heartbeat_interval: day,
        poll_interval: day,
        event_flush_interval: day,
        ca,
    };
    let tokens = Tokens::read(token).map_err(|error| NotJoined(error.to_string()))?;
    let caller = Caller::new(&written, MAX_BUNDLE);
    let answer = caller
        .post(Call::Register, &tokens, &Introduction { version: VERSION })
        .await?;
    let answer: RegisterAnswer = serde_json::from_slice(&answer)
        .map_err(|_| NotJoined("the answer is not the JSON that was expected".into()))?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let edge_id = answer
        .edge_id
        .filter(|name| (1..=MOST_NAME).contains(&name.len()) && name.bytes().all(plain))
        .ok_or_else(|| NotJoined("the answer names no edge_id that can be used".into()))?;
    let bundle = match caller.pull(&tokens, None).await? {
        Pulled::Bundle(bytes, _) => Some(bytes),
        Pulled::NotModified => None,
    };
    Ok(Joined { edge_id, bundle })
}
