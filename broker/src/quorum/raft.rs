//! The types that openraft is told, and the network of a quorum of one.

use std::convert::Infallible;
use std::io::Cursor;
use std::sync::Arc;

use logic::metadata::{Command, Response};
use openraft::error::{InstallSnapshotError, RPCError, RaftError};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::{EmptyNode, RaftNetwork, RaftNetworkFactory};

/// A member of the quorum: the broker's id.
pub type NodeId = u64;

openraft::declare_raft_types!(
    /// What the quorum agrees on: commands of the metadata.
    pub Types:
        D = Arc<Command>,
        R = Option<Applied>,
        NodeId = NodeId,
        Node = EmptyNode,
        Entry = openraft::Entry<Types>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = openraft::TokioRuntime,
);

/// What applying a command came to; an entry that is no command has none.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The answer.
    pub response: Response,
    /// Whether anything changed.
    pub changed: bool,
}

/// An entry of the log.
pub type Entry = openraft::Entry<Types>;
/// The place of an entry in the log.
pub type LogId = openraft::LogId<NodeId>;
/// A vote.
pub type Vote = openraft::Vote<NodeId>;
/// Who the members are.
pub type Membership = openraft::Membership<NodeId, EmptyNode>;
/// Who the members are since which entry.
pub type StoredMembership = openraft::StoredMembership<NodeId, EmptyNode>;
/// What goes wrong with the log or the snapshot.
pub type StorageError = openraft::StorageError<NodeId>;

/// The network of a quorum of one: it has nobody to talk to, and no membership change adds anybody.
#[derive(Clone, Copy, Debug)]
pub struct NoPeers;

/// A link to a peer of a quorum that has none: there is no value of this type.
#[derive(Debug)]
pub struct NoLink(Infallible);

impl RaftNetworkFactory<Types> for NoPeers {
    type Network = NoLink;

    async fn new_client(&mut self, target: NodeId, _: &EmptyNode) -> NoLink {
        panic!("a quorum of one has no member {target}");
    }
}

impl RaftNetwork<Types> for NoLink {
    async fn append_entries(
        &mut self,
        _: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, RPCError<NodeId, EmptyNode, RaftError<NodeId>>> {
        match self.0 {}
    }

    async fn install_snapshot(
        &mut self,
        _: InstallSnapshotRequest<Types>,
        _: RPCOption,
    ) -> Result<
        InstallSnapshotResponse<NodeId>,
        RPCError<NodeId, EmptyNode, RaftError<NodeId, InstallSnapshotError>>,
    > {
        match self.0 {}
    }

    async fn vote(
        &mut self,
        _: VoteRequest<NodeId>,
        _: RPCOption,
    ) -> Result<VoteResponse<NodeId>, RPCError<NodeId, EmptyNode, RaftError<NodeId>>> {
        match self.0 {}
    }
}
