//! The nodes of a memory disk: what is seen, what is durable, and the changes between.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

use crate::disk::DirectoryEntry;

/// Names a file or directory, whatever path leads to it.
pub(super) type NodeId = u64;
/// The number of an operation; the first is 1.
pub(super) type OperationId = u64;

pub(super) const ROOT: NodeId = 0;

/// The blocks of a file; one that is missing is all zeros.
pub(super) type Blocks = BTreeMap<u64, Arc<[u8]>>;

#[derive(Clone)]
pub(super) enum Node {
    File(FileNode),
    Directory(DirectoryNode),
}

#[derive(Clone, Default)]
pub(super) struct FileNode {
    /// What a reader sees.
    pub(super) blocks: Blocks,
    pub(super) size: u64,
    /// What a power loss leaves in any case.
    pub(super) durable_blocks: Blocks,
    pub(super) durable_size: u64,
    /// What it may leave, in the order of the operations.
    pub(super) pending: Vec<FileChange>,
    /// Counts against the capacity.
    allocated: u64,
}

#[derive(Clone)]
pub(super) struct FileChange {
    pub(super) operation: OperationId,
    /// Only then does a sync cover it.
    completed: bool,
    pub(super) kind: FileChangeKind,
}

#[derive(Clone)]
pub(super) enum FileChangeKind {
    /// A block's new content; none where a cut made it zeros.
    Block(u64, Option<Arc<[u8]>>),
    Size(u64),
}

#[derive(Clone, Default)]
pub(super) struct DirectoryNode {
    names: BTreeMap<String, NodeId>,
    pub(super) durable_names: BTreeMap<String, NodeId>,
    pub(super) pending: Vec<DirectoryChange>,
}

/// Each is atomic.
#[derive(Clone)]
pub(super) enum DirectoryChange {
    Link(String, NodeId),
    Unlink(String),
    Rename(String, String),
}

impl DirectoryChange {
    pub(super) fn apply(&self, names: &mut BTreeMap<String, NodeId>) {
        match self {
            Self::Link(name, node) => {
                names.insert(name.clone(), *node);
            }
            Self::Unlink(name) => {
                names.remove(name);
            }
            Self::Rename(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
        }
    }
}

pub(super) struct DirectorySync {
    node: NodeId,
    change_count: usize,
}

pub(super) struct SyncAll {
    files: Vec<(NodeId, Vec<OperationId>)>,
    directories: Vec<DirectorySync>,
}

pub(super) struct State {
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) next_node: NodeId,
    pub(super) block_bytes: usize,
    pub(super) capacity: u64,
    operations: u64,
    crash_at: Option<u64>,
    crashed: bool,
}

impl State {
    pub(super) fn new(block_bytes: usize, capacity: u64) -> Self {
        let root = Node::Directory(DirectoryNode::default());
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            next_node: ROOT + 1,
            block_bytes,
            capacity,
            operations: 0,
            crash_at: None,
            crashed: false,
        }
    }

    pub(super) fn operation_count(&self) -> u64 {
        self.operations
    }

    pub(super) fn set_crash_at(&mut self, operation: u64) {
        assert!(operation > self.operations, "that operation is over");
        self.crash_at = Some(operation);
    }

    pub(super) fn crash(&mut self) {
        self.crashed = true;
    }

    pub(super) fn has_crashed(&self) -> bool {
        self.crashed
    }

    pub(super) fn set_capacity_bytes(&mut self, capacity: u64) {
        self.capacity = capacity;
    }

    pub(super) fn check_power(&self) -> io::Result<()> {
        if self.crashed { Err(io::Error::other("power lost")) } else { Ok(()) }
    }

    /// Counts an operation. Its effects are recorded by the caller; then [`State::check_power`] tells whether it
    /// was the last.
    fn begin_operation(&mut self) -> io::Result<OperationId> {
        self.check_power()?;
        self.operations += 1;
        if self.crash_at == Some(self.operations) {
            self.crashed = true;
        }
        Ok(self.operations)
    }

    // Names.

    pub(super) fn find(&self, path: &Path) -> io::Result<NodeId> {
        let mut node = ROOT;
        for component in path.components() {
            let name = match component {
                Component::CurDir => continue,
                Component::Normal(name) => name.to_str().ok_or(io::ErrorKind::InvalidInput)?,
                _ => return Err(io::ErrorKind::InvalidInput.into()),
            };
            node = *self.directory(node)?.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    /// The directory that a path's last name is in, and that name.
    fn find_parent(&self, path: &Path) -> io::Result<(NodeId, String)> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        let parent = self.find(path.parent().unwrap_or(Path::new("")))?;
        self.directory(parent)?;
        Ok((parent, name.to_owned()))
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        let node = match self.find(path) {
            Ok(node) => node,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let entries = self.directory(node)?.names.iter().map(|(name, node)| {
            let (size_bytes, is_directory) = match &self.nodes[node] {
                Node::File(file) => (file.size, false),
                Node::Directory(_) => (0, true),
            };
            DirectoryEntry { name: name.clone(), size_bytes, is_directory }
        });
        Ok(entries.collect())
    }

    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<NodeId> {
        let (parent, name) = self.find_parent(path)?;
        self.begin_operation()?;
        let node = self.add_node(Node::File(FileNode::default()));
        self.change_directory(parent, DirectoryChange::Link(name, node));
        self.check_power()?;
        Ok(node)
    }

    pub(super) fn create_directory(&mut self, path: &Path) -> io::Result<()> {
        self.check_power()?;
        let mut parent = ROOT;
        for component in path.components() {
            let name = component.as_os_str().to_str().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
            parent = match self.directory(parent)?.names.get(&name) {
                Some(&node) => node,
                None => {
                    self.begin_operation()?;
                    let node = self.add_node(Node::Directory(DirectoryNode::default()));
                    self.change_directory(parent, DirectoryChange::Link(name, node));
                    self.check_power()?;
                    node
                }
            };
        }
        self.directory(parent).map(|_| ())
    }

    pub(super) fn remove(&mut self, path: &Path, directory: bool) -> io::Result<()> {
        self.check_power()?;
        let node = self.find(path)?;
        match (&self.nodes[&node], directory) {
            (Node::File(_), true) => return Err(io::ErrorKind::NotADirectory.into()),
            (Node::Directory(_), false) => return Err(io::ErrorKind::IsADirectory.into()),
            _ => (),
        }
        let (parent, name) = self.find_parent(path)?;
        self.begin_operation()?;
        self.change_directory(parent, DirectoryChange::Unlink(name));
        self.check_power()
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.check_power()?;
        let node = self.find(from)?;
        let (from_parent, from_name) = self.find_parent(from)?;
        let (to_parent, to_name) = self.find_parent(to)?;
        self.begin_operation()?;
        if from_parent == to_parent {
            self.change_directory(from_parent, DirectoryChange::Rename(from_name, to_name));
        } else {
            self.change_directory(to_parent, DirectoryChange::Link(to_name, node));
            self.change_directory(from_parent, DirectoryChange::Unlink(from_name));
        }
        self.check_power()
    }

    pub(super) fn begin_directory_sync(&mut self, path: &Path) -> io::Result<DirectorySync> {
        self.check_power()?;
        let node = self.find(path)?;
        let change_count = self.directory(node)?.pending.len();
        self.begin_operation()?;
        self.check_power()?;
        Ok(DirectorySync { node, change_count })
    }

    pub(super) fn finish_directory_sync(&mut self, sync: DirectorySync) -> io::Result<()> {
        self.check_power()?;
        let directory = self.directory_mut(sync.node);
        // Another sync that ended in between may have made some of them durable.
        let change_count = sync.change_count.min(directory.pending.len());
        for change in directory.pending.drain(..change_count) {
            change.apply(&mut directory.durable_names);
        }
        Ok(())
    }

    /// What a sync of everything that begins now will make durable.
    pub(super) fn begin_sync_all(&mut self) -> io::Result<SyncAll> {
        self.begin_operation()?;
        self.check_power()?;
        let mut sync = SyncAll { files: Vec::new(), directories: Vec::new() };
        for (&node, content) in &self.nodes {
            match content {
                Node::File(file) => sync.files.push((node, file.completed())),
                Node::Directory(directory) => {
                    sync.directories.push(DirectorySync { node, change_count: directory.pending.len() });
                }
            }
        }
        Ok(sync)
    }

    pub(super) fn finish_sync_all(&mut self, sync: SyncAll) -> io::Result<()> {
        sync.files.iter().try_for_each(|(node, operations)| self.finish_file_sync(*node, operations))?;
        sync.directories.into_iter().try_for_each(|directory| self.finish_directory_sync(directory))
    }

    fn add_node(&mut self, node: Node) -> NodeId {
        let id = self.next_node;
        self.next_node += 1;
        self.nodes.insert(id, node);
        id
    }

    fn directory(&self, node: NodeId) -> io::Result<&DirectoryNode> {
        match &self.nodes[&node] {
            Node::Directory(directory) => Ok(directory),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn directory_mut(&mut self, node: NodeId) -> &mut DirectoryNode {
        match self.nodes.get_mut(&node) {
            Some(Node::Directory(directory)) => directory,
            _ => panic!("node {node} is a directory"),
        }
    }

    fn change_directory(&mut self, node: NodeId, change: DirectoryChange) {
        let directory = self.directory_mut(node);
        change.apply(&mut directory.names);
        directory.pending.push(change);
    }

    // Contents.

    fn file(&self, node: NodeId) -> io::Result<&FileNode> {
        match &self.nodes[&node] {
            Node::File(file) => Ok(file),
            Node::Directory(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn file_mut(&mut self, node: NodeId) -> &mut FileNode {
        match self.nodes.get_mut(&node) {
            Some(Node::File(file)) => file,
            _ => panic!("node {node} is a file"),
        }
    }

    pub(super) fn file_size(&self, node: NodeId) -> io::Result<u64> {
        Ok(self.file(node)?.size)
    }

    pub(super) fn read(&self, node: NodeId, position: u64, length: usize) -> io::Result<Vec<u8>> {
        let file = self.file(node)?;
        let left = usize::try_from(file.size.saturating_sub(position)).unwrap_or(usize::MAX);
        let length = length.min(left);
        let mut content = Vec::with_capacity(length);
        while content.len() < length {
            let (block, offset) = self.block_of(position + as_u64(content.len()));
            let part = (self.block_bytes - offset).min(length - content.len());
            match file.blocks.get(&block) {
                Some(bytes) => content.extend_from_slice(&bytes[offset..offset + part]),
                None => content.resize(content.len() + part, 0),
            }
        }
        Ok(content)
    }

    /// Records a write as under way.
    pub(super) fn write(&mut self, node: NodeId, position: u64, bytes: &[u8]) -> io::Result<OperationId> {
        assert!(!bytes.is_empty());
        let (block_first, offset) = self.block_of(position);
        assert_eq!(offset, 0, "position {position} is no multiple of the block");
        assert_eq!(bytes.len() % self.block_bytes, 0, "length {} is no multiple of the block", bytes.len());
        self.check_power()?;
        let end = position + as_u64(bytes.len());
        self.reserve(node, end)?;
        let operation = self.begin_operation()?;
        let block_bytes = self.block_bytes;
        let file = self.file_mut(node);
        for (block, content) in (block_first..).zip(bytes.chunks_exact(block_bytes)) {
            file.change(operation, FileChangeKind::Block(block, Some(content.into())));
        }
        if end > file.size {
            file.change(operation, FileChangeKind::Size(end));
        }
        self.check_power()?;
        Ok(operation)
    }

    pub(super) fn truncate(&mut self, node: NodeId, size: u64) -> io::Result<OperationId> {
        self.check_power()?;
        let operation = self.begin_operation()?;
        let (cut_block, cut_offset) = self.block_of(size);
        let block_bytes = as_u64(self.block_bytes);
        let file = self.file_mut(node);
        if size < file.size {
            let gone: Vec<u64> = file.blocks.range(cut_block..).map(|(&block, _)| block).collect();
            for block in gone {
                let kept = (block == cut_block && cut_offset > 0).then(|| {
                    let mut bytes = file.blocks[&block].to_vec();
                    bytes[cut_offset..].fill(0);
                    bytes.into()
                });
                file.change(operation, FileChangeKind::Block(block, kept));
            }
        }
        file.change(operation, FileChangeKind::Size(size));
        file.allocated = size.next_multiple_of(block_bytes);
        self.check_power()?;
        Ok(operation)
    }

    pub(super) fn allocate(&mut self, node: NodeId, size: u64, extend: bool) -> io::Result<OperationId> {
        self.check_power()?;
        self.reserve(node, size)?;
        let operation = self.begin_operation()?;
        let file = self.file_mut(node);
        if extend && size > file.size {
            file.change(operation, FileChangeKind::Size(size));
        }
        self.check_power()?;
        Ok(operation)
    }

    /// An operation is over: syncs that begin from now on cover it.
    pub(super) fn complete(&mut self, node: NodeId, operation: OperationId) -> io::Result<()> {
        self.check_power()?;
        for change in &mut self.file_mut(node).pending {
            if change.operation == operation {
                change.completed = true;
            }
        }
        Ok(())
    }

    /// A synced write is over. The size is written with it, as it is now.
    pub(super) fn make_write_durable(&mut self, node: NodeId, operation: OperationId) -> io::Result<()> {
        self.check_power()?;
        let file = self.file_mut(node);
        file.durable_size = file.size;
        file.pending.retain(|change| !matches!(change.kind, FileChangeKind::Size(_)));
        file.make_durable(|change| change.operation == operation);
        Ok(())
    }

    /// The completed changes that a sync which begins now will make durable.
    pub(super) fn begin_file_sync(&mut self, node: NodeId) -> io::Result<Vec<OperationId>> {
        self.begin_operation()?;
        self.check_power()?;
        Ok(self.file(node)?.completed())
    }

    pub(super) fn finish_file_sync(&mut self, node: NodeId, operations: &[OperationId]) -> io::Result<()> {
        self.check_power()?;
        self.file_mut(node).make_durable(|change| operations.contains(&change.operation));
        Ok(())
    }

    pub(super) fn replace_file(&mut self, path: &Path, content: &[u8]) -> io::Result<()> {
        let (parent, name) = self.find_parent(path)?;
        let mut file = FileNode { size: as_u64(content.len()), ..FileNode::default() };
        for (block, bytes) in (0..).zip(content.chunks(self.block_bytes)) {
            let mut padded = bytes.to_vec();
            padded.resize(self.block_bytes, 0);
            file.blocks.insert(block, padded.into());
        }
        file.durable_blocks = file.blocks.clone();
        file.durable_size = file.size;
        file.allocated = file.size.next_multiple_of(as_u64(self.block_bytes));
        if let Ok(node) = self.find(path) {
            self.nodes.insert(node, Node::File(file));
            return Ok(());
        }
        let node = self.add_node(Node::File(file));
        let directory = self.directory_mut(parent);
        directory.names.insert(name.clone(), node);
        directory.durable_names.insert(name, node);
        Ok(())
    }

    /// Takes the space for a file of so many bytes, if it is there.
    fn reserve(&mut self, node: NodeId, size: u64) -> io::Result<()> {
        let wanted = size.next_multiple_of(as_u64(self.block_bytes));
        let more = wanted.saturating_sub(self.file(node)?.allocated);
        if more > self.available_bytes() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file_mut(node).allocated += more;
        Ok(())
    }

    pub(super) fn available_bytes(&self) -> u64 {
        self.capacity.saturating_sub(self.allocated_below(ROOT))
    }

    fn allocated_below(&self, node: NodeId) -> u64 {
        match &self.nodes[&node] {
            Node::File(file) => file.allocated,
            Node::Directory(directory) => {
                directory.names.values().map(|&child| self.allocated_below(child)).sum()
            }
        }
    }

    fn block_of(&self, position: u64) -> (u64, usize) {
        let block_bytes = as_u64(self.block_bytes);
        let offset = usize::try_from(position % block_bytes).expect("below a block");
        (position / block_bytes, offset)
    }
}

impl FileNode {
    fn completed(&self) -> Vec<OperationId> {
        self.pending.iter().filter(|change| change.completed).map(|change| change.operation).collect()
    }

    fn change(&mut self, operation: OperationId, kind: FileChangeKind) {
        apply(&kind, &mut self.blocks, &mut self.size);
        self.pending.push(FileChange { operation, completed: false, kind });
    }

    /// Moves the chosen changes from pending to durable, in their order. A size takes the older sizes with it: it
    /// was written after them.
    fn make_durable(&mut self, chosen: impl Fn(&FileChange) -> bool) {
        let is_size = |change: &FileChange| matches!(change.kind, FileChangeKind::Size(_));
        let size_last = self.pending.iter().rposition(|change| chosen(change) && is_size(change));
        let mut index = 0;
        let (blocks, size) = (&mut self.durable_blocks, &mut self.durable_size);
        self.pending.retain(|change| {
            let superseded = is_size(change) && size_last.is_some_and(|last| index < last);
            index += 1;
            if chosen(change) {
                apply(&change.kind, blocks, size);
                return false;
            }
            !superseded
        });
    }

    /// A file that holds this and nothing else, durable.
    pub(super) fn durable(blocks: Blocks, size: u64, block_bytes: usize) -> Self {
        let allocated = size.next_multiple_of(as_u64(block_bytes));
        Self {
            durable_blocks: blocks.clone(),
            durable_size: size,
            blocks,
            size,
            pending: Vec::new(),
            allocated,
        }
    }
}

impl DirectoryNode {
    /// A directory that holds these names and no others, durable.
    pub(super) fn durable(names: BTreeMap<String, NodeId>) -> Self {
        Self { durable_names: names.clone(), names, pending: Vec::new() }
    }
}

fn apply(kind: &FileChangeKind, blocks: &mut Blocks, size: &mut u64) {
    match kind {
        FileChangeKind::Block(block, Some(content)) => {
            blocks.insert(*block, Arc::clone(content));
        }
        FileChangeKind::Block(block, None) => {
            blocks.remove(block);
        }
        FileChangeKind::Size(new) => *size = *new,
    }
}

fn as_u64(value: usize) -> u64 {
    u64::try_from(value).expect("usize has at most 64 bits")
}
