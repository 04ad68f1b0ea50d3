//! The two slots on the disk: reads both, writes the older one, or one after the other.

use std::io;

use super::{Checkpoint, SLOT_HEADER_BYTES, slot_path};
use crate::disk::buffer::size_class_below;
use crate::disk::{Disk, DiskFile, IoBuffer, OpenMode};
use crate::limits::ZERO_WRITE_BYTES;

/// What a slot holds.
#[derive(Debug)]
pub(crate) enum Slot {
    /// There is no file, or nothing was ever written to it.
    Empty,
    /// Something was written that is not whole: torn, or damaged.
    Damaged,
    /// A whole checkpoint.
    Valid(Checkpoint),
}

/// Reads a slot.
pub(crate) async fn read<D: Disk>(disk: &D, shard: u16, shard_count: u16, slot: usize) -> io::Result<Slot> {
    let path = slot_path(shard, shard_count, slot);
    if !disk.exists(&path).await? {
        return Ok(Slot::Empty);
    }
    let file = disk.open(&path, OpenMode::Read).await?;
    let header = file.read_at(0, SLOT_HEADER_BYTES).await?;
    if header.iter().all(|&byte| byte == 0) {
        return Ok(Slot::Empty);
    }
    let size_bytes = file.size_bytes().await?;
    let content_bytes = Checkpoint::content_bytes(&header)
        .filter(|&bytes| u64::try_from(bytes).is_ok_and(|bytes| bytes <= size_bytes));
    let Some(content_bytes) = content_bytes else { return Ok(Slot::Damaged) };
    let content = file.read_at(0, content_bytes).await?;
    Ok(Checkpoint::decode(&content)
        .filter(|found| found.shard == shard && found.shard_count == shard_count)
        .filter(|found| Checkpoint::slot(found.number) == slot)
        .map_or(Slot::Damaged, Slot::Valid))
}

/// Writes what a checkpoint says to its slot, and, when that is durable, to the other one as the checkpoint that follows:
/// either alone tells all of it. Returns the one that counts.
pub(crate) async fn write_both<D: Disk>(disk: &D, checkpoint: Checkpoint) -> io::Result<Checkpoint> {
    write(disk, &checkpoint).await?;
    let second = Checkpoint { number: checkpoint.number + 1, ..checkpoint };
    write(disk, &second).await?;
    Ok(second)
}

/// Writes a checkpoint to its slot; durable when it returns.
pub(crate) async fn write<D: Disk>(disk: &D, checkpoint: &Checkpoint) -> io::Result<()> {
    let path = slot_path(checkpoint.shard, checkpoint.shard_count, Checkpoint::slot(checkpoint.number));
    let is_new = !disk.exists(&path).await?;
    let file = disk.open(&path, OpenMode::Create).await?;
    let content = checkpoint.encode().await;
    let mut rest = &content[..];
    let mut position = 0;
    while !rest.is_empty() {
        let length = rest.len().min(size_class_below(ZERO_WRITE_BYTES));
        let mut buffer = IoBuffer::allocate(length);
        buffer[..length].copy_from_slice(&rest[..length]);
        let buffer = buffer.freeze(length);
        file.write_at(&buffer, position).await?;
        position += u64::try_from(buffer.padded_bytes()).expect("a length");
        rest = &rest[length..];
    }
    file.sync().await?;
    file.close().await?;
    if is_new {
        disk.sync_directory(path.parent().expect("a slot lies in a directory")).await?;
    }
    Ok(())
}
