//! What a power loss may leave: all that is durable, and of the rest what the seed chooses.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::state::{DirectoryNode, FileChangeKind, FileNode, Node, NodeId, State};
use crate::disk::random::Random;

/// How much of what was not synced has arrived. The extremes find bugs that the middle rarely does.
#[derive(Clone, Copy)]
enum Arrived {
    Nothing,
    Everything,
    Some,
}

impl State {
    /// The disk as a power loss may leave it.
    pub(super) fn image(&self, random: &mut Random) -> Self {
        let arrived = match random.below(4) {
            0 => Arrived::Nothing,
            1 => Arrived::Everything,
            _ => Arrived::Some,
        };
        let mut image = Self::new(self.block_bytes, self.capacity);
        image.next_node = self.next_node;
        image.nodes = self
            .nodes
            .iter()
            .map(|(&node, content)| {
                let content = match content {
                    Node::File(file) => Node::File(image_of_file(file, arrived, random, self.block_bytes)),
                    Node::Directory(directory) => {
                        Node::Directory(image_of_directory(directory, arrived, random))
                    }
                };
                (node, content)
            })
            .collect();
        image
    }
}

fn image_of_directory(directory: &DirectoryNode, arrived: Arrived, random: &mut Random) -> DirectoryNode {
    let mut names: BTreeMap<String, NodeId> = directory.durable_names.clone();
    for change in &directory.pending {
        let this_arrived = match arrived {
            Arrived::Nothing => false,
            Arrived::Everything => true,
            Arrived::Some => random.chance(1, 2),
        };
        if this_arrived {
            change.apply(&mut names);
        }
    }
    DirectoryNode::durable(names)
}

/// Each block, and the size, has the durable value or that of any change since: the device may have written the
/// changes in any order, and stopped after any of them.
fn image_of_file(file: &FileNode, arrived: Arrived, random: &mut Random, block_bytes: usize) -> FileNode {
    let mut blocks = file.durable_blocks.clone();
    let mut sizes = vec![file.durable_size];
    let mut versions: BTreeMap<u64, Vec<&Option<Arc<[u8]>>>> = BTreeMap::new();
    for change in &file.pending {
        match &change.kind {
            FileChangeKind::Block(block, content) => versions.entry(*block).or_default().push(content),
            FileChangeKind::Size(size) => sizes.push(*size),
        }
    }
    for (block, versions) in versions {
        // 0 stands for the durable one.
        let chosen = choose(versions.len() + 1, arrived, random);
        match chosen.checked_sub(1).map(|index| versions[index]) {
            Some(Some(content)) => {
                blocks.insert(block, Arc::clone(content));
            }
            Some(None) => {
                blocks.remove(&block);
            }
            None => (),
        }
    }
    let size = sizes[choose(sizes.len(), arrived, random)];
    cut(&mut blocks, size, block_bytes);
    FileNode::durable(blocks, size, block_bytes)
}

fn choose(count: usize, arrived: Arrived, random: &mut Random) -> usize {
    match arrived {
        Arrived::Nothing => 0,
        Arrived::Everything => count - 1,
        Arrived::Some => random.index(count),
    }
}

/// What lies past the size reads as zeros when the file grows again.
fn cut(blocks: &mut BTreeMap<u64, Arc<[u8]>>, size: u64, block_bytes: usize) {
    let block_u64 = u64::try_from(block_bytes).expect("usize has at most 64 bits");
    let block = size / block_u64;
    let offset = usize::try_from(size % block_u64).expect("below a block");
    let mut behind = blocks.split_off(&block);
    if let Some(content) = behind.remove(&block).filter(|_| offset > 0) {
        let mut content = content.to_vec();
        content[offset..].fill(0);
        blocks.insert(block, content.into());
    }
}
