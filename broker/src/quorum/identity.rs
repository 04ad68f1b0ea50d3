//! What a data directory is: `meta.fb`, a sealed file around an `iolite.meta.Meta`.
//!
//! Made at the first start. Cluster id and node id never change; the shard count does when an operator changes it,
//! after everything the old shards kept has been moved.

use std::io;
use std::path::Path;

use flatbuffers::{FlatBufferBuilder, InvalidFlatbuffer};
use protocol::generated::meta as schema;
use protocol::types::BrokerId;

use super::files::{Directory, Files};
use super::sealed::{Seal, SealError, seal, unseal};

/// The file in the data directory.
pub const IDENTITY_FILE: &str = "meta.fb";
/// The version covers the whole data directory: a change of any format in it that older code can't read raises it.
const IDENTITY_SEAL: Seal = Seal { magic: *b"IOLITEMT", version: 1 };

/// Whose a data directory is and how it is laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's id, as Kafka writes one: 16 random bytes in 22 letters of URL-safe base64.
    pub cluster_id: String,
    /// The broker's id.
    pub node_id: BrokerId,
    /// The shards that the data is laid out for.
    pub shard_count: u16,
}

/// Why `meta.fb` can't be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It can't be read or written.
    #[error(transparent)]
    File(#[from] io::Error),
    /// It is not what it should be.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Its content is not what it should be.
    #[error("the buffer is damaged: {0}")]
    Buffer(#[from] InvalidFlatbuffer),
    /// Its values can't be.
    #[error("it names no cluster, no shard or a negative node id")]
    Values,
}

impl Identity {
    /// The identity of a new cluster of one broker.
    #[must_use]
    pub fn new(node_id: BrokerId, shard_count: u16) -> Self {
        Self { cluster_id: cluster_id_of(rand::random()), node_id, shard_count }
    }

    /// Reads it; `None` in a directory that has none.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn read(data_directory: &Path) -> Result<Option<Self>, IdentityError> {
        if !data_directory.is_dir() {
            return Ok(None);
        }
        let Some(file) = Directory::open(data_directory.to_owned())?.read(IDENTITY_FILE)? else {
            return Ok(None);
        };
        let root = flatbuffers::root::<schema::Meta<'_>>(unseal(IDENTITY_SEAL, &file)?)?;
        let identity = Self {
            cluster_id: root.cluster_id().to_owned(),
            node_id: BrokerId(root.node_id()),
            shard_count: root.shard_count(),
        };
        if identity.cluster_id.is_empty() || identity.shard_count == 0 || identity.node_id.get() < 0 {
            return Err(IdentityError::Values);
        }
        Ok(Some(identity))
    }

    /// Writes it in place of any before; durable when it returns.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, data_directory: &Path) -> io::Result<()> {
        assert!(self.shard_count > 0);
        assert!(!self.cluster_id.is_empty());
        let mut builder = FlatBufferBuilder::new();
        let cluster_id = Some(builder.create_string(&self.cluster_id));
        let args =
            schema::MetaArgs { cluster_id, node_id: self.node_id.get(), shard_count: self.shard_count };
        let root = schema::Meta::create(&mut builder, &args);
        builder.finish_minimal(root);
        let file = seal(IDENTITY_SEAL, builder.finished_data());
        Directory::open(data_directory.to_owned())?.replace(IDENTITY_FILE, &file)
    }
}

/// 16 bytes as Kafka writes a UUID: URL-safe base64 without padding.
#[must_use]
pub fn cluster_id_of(bytes: [u8; 16]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits = u128::from_be_bytes(bytes);
    // 22 letters of six bits hold 132: the last letter ends in four zero bits.
    (0..22)
        .map(|place| {
            let six = if place < 21 { bits >> (122 - 6 * place) } else { bits << 4 };
            let index = usize::try_from(six & 63).expect("six bits");
            char::from(LETTERS[index])
        })
        .collect()
}
