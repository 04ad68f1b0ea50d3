//! Before the shards start: the data is laid out for as many of them as there are now, and nothing lies in the way that a
//! crash left behind.

use std::path::PathBuf;
use std::sync::Arc;

use logic::config::ConfigMap;
use logic::metadata::{Image, shard_of};
use protocol::types::PartitionKey;
use storage::disk::glommio::GlommioDisk;
use storage::store::{
    OpenError, PartitionSpec, StoreOptions, change_shard_count, remove_other_layouts, retire_strangers,
};

use crate::exit::ExitCode;
use crate::quorum::Identity;
use crate::runtime::start_shard;
use crate::shard::partition_specs;
use crate::startup::StartupError;

/// What the data directory is to be like.
pub struct Layout {
    /// The directory.
    pub data_directory: PathBuf,
    /// The metadata: which partitions there are.
    pub image: Arc<Image>,
    /// The broker's own settings, which topics inherit.
    pub settings: Arc<ConfigMap>,
    /// How the shards' stores work, as they were before.
    pub options: StoreOptions,
    /// How many shards there are now.
    pub shard_count: u16,
}

/// Makes it so, and notes the number of shards in the identity. May be interrupted at any point and begun again.
///
/// # Errors
/// The data can't be read or written.
pub fn settle(layout: Layout, identity: &mut Identity) -> Result<(), StartupError> {
    let directory = layout.data_directory.clone();
    let failed = |code, error: &dyn std::fmt::Display| StartupError {
        code,
        message: format!("data directory {}: {error}", directory.display()),
    };
    let shard_count = layout.shard_count;
    if identity.shard_count != shard_count {
        tracing::info!(
            from = identity.shard_count,
            to = shard_count,
            "the data is laid out for another number of shards"
        );
    }
    let before = identity.clone();
    let thread = start_shard(0, None, move || lay_out(layout, before))
        .map_err(|error| failed(ExitCode::Unexpected, &error))?;
    match thread.join() {
        Ok(Ok(())) => {}
        Ok(Err(error @ OpenError::Damaged(_))) => return Err(failed(ExitCode::Damaged, &error)),
        Ok(Err(error)) => return Err(failed(ExitCode::StorageFailed, &error)),
        Err(_) => return Err(failed(ExitCode::Unexpected, &"laying out the data has failed")),
    }
    identity.shard_count = shard_count;
    Ok(())
}

async fn lay_out(layout: Layout, mut identity: Identity) -> Result<(), OpenError> {
    let Layout { data_directory, image, settings, options, shard_count } = layout;
    let doing = |what: &str| {
        let what = what.to_owned();
        move |source| OpenError::Io { what, source }
    };
    let disk = GlommioDisk::open(&data_directory).await.map_err(doing("opening the directory"))?;
    let broker = identity.node_id;
    let live: Vec<PartitionSpec> =
        image.topics().flat_map(|topic| partition_specs(&image, topic, broker, &settings)).collect();
    retire_strangers(&disk, &live).await.map_err(doing("looking for what deleted topics left"))?;
    if identity.shard_count != shard_count {
        let owner = |key: PartitionKey, count| shard_of(key.topic_id, key.partition, count);
        change_shard_count(&disk, &options, shard_count, &live, owner).await?;
        identity.shard_count = shard_count;
        identity.write(&data_directory).map_err(doing("noting the number of shards"))?;
    }
    remove_other_layouts(&disk, shard_count).await.map_err(doing("removing the old layout"))
}
