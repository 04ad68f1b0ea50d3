//! What is counted, with the names and words that Prometheus shows.

macro_rules! metrics {
    ($(#[doc = $doc:literal])+ $kind:ident { $($name:ident = $shown:literal, $help:literal;)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $kind {
            $(#[doc = $help] $name,)+
        }

        impl $kind {
            /// Each of them, in order.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            pub(super) const fn index(self) -> usize {
                self as usize
            }

            /// The name without the prefix that all have.
            #[must_use]
            pub const fn shown(self) -> &'static str {
                match self { $(Self::$name => $shown,)+ }
            }

            /// What it says.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$name => $help,)+ }
            }
        }
    };
}

metrics! {
    /// What a shard counts up.
    Count {
        BytesReceived = "received_bytes_total", "Bytes of requests read from clients.";
        BytesSent = "sent_bytes_total", "Bytes of replies written to clients.";
        ConnectionsAccepted = "connections_accepted_total", "Connections accepted, by the shard that accepted them.";
        ConnectionsClosed = "connections_closed_total", "Connections closed, whoever closed them.";
        ConnectionsRefused = "connections_refused_total", "Connections closed at once because of max.connections.";
        ConnectionsMoved = "connections_moved_total", "Connections that left for the shard of their data.";
        Forwarded = "forwarded_total", "Questions and batches of requests that went to another shard.";
        BatchesAppended = "appended_batches_total", "Record batches appended.";
        RecordsAppended = "appended_records_total", "Records appended.";
        BytesAppended = "appended_bytes_total", "Bytes of record batches appended.";
        BatchesDuplicate = "duplicate_batches_total", "Batches of idempotent producers that were there already.";
        BatchesPreparedAside = "prepared_aside_batches_total", "Produced batches that a thread beside the shard's decompressed or compressed.";
        BytesFetched = "fetched_bytes_total", "Bytes of record batches given to consumers.";
        TailHits = "tail_cache_hits_total", "Reads served from memory alone.";
        TailMisses = "tail_cache_misses_total", "Reads that went to the device.";
        ReadAheadHits = "read_ahead_hits_total", "Reads served from what was read ahead, or for another consumer.";
        HeldBack = "held_back_microseconds_total", "Time that producers' connections waited because a journal was filling up.";
        JournalFrames = "journal_frames_total", "Frames written to the journal.";
        JournalBytes = "journal_written_bytes_total", "Bytes written to the journal, padding included.";
        BytesDestaged = "destaged_bytes_total", "Bytes moved from the journal to segments.";
        SegmentsDeleted = "deleted_segments_total", "Segments that retention deleted.";
        SegmentsDeletedForRoom = "deleted_for_room_segments_total", "Segments deleted because the disk was full.";
        CompactionRounds = "compaction_rounds_total", "Rounds of compaction that ran to their end.";
        BytesCompacted = "compacted_bytes_total", "Bytes of batches that compaction looked through.";
        BytesCompactedAway = "compacted_away_bytes_total", "Bytes that compaction gave back.";
    }
}

metrics! {
    /// What a shard has of something right now.
    Gauge {
        Connections = "connections", "Connections open.";
        Partitions = "partitions", "Partitions owned.";
        FetchesParked = "parked_fetches", "Fetches waiting for records.";
        RequestBytes = "request_memory_bytes", "Memory of requests in progress.";
        RequestBytesMax = "request_memory_max_bytes", "Memory that requests in progress may take.";
        ReplyBytes = "reply_memory_bytes", "Memory of replies that clients have not taken.";
        ReplyBytesMax = "reply_memory_max_bytes", "Memory that such replies may take.";
        TailBytes = "tail_cache_bytes", "Memory of the newest records.";
        JournalUsedBytes = "journal_used_bytes", "Journal not destaged yet.";
        JournalMaxBytes = "journal_max_bytes", "How large the journal may grow.";
        ProducerIds = "producer_ids", "Idempotent producers remembered.";
    }
}

metrics! {
    /// The stages of a request.
    Stage {
        Queue = "queue", "From the last byte read until its handler begins.";
        Journal = "journal", "From append until its journal frame goes to the device.";
        Sync = "sync", "From then until it is committed: on stable media here, and on all replicas in sync.";
        Reply = "reply", "From the answer being known until its last byte is written.";
        Total = "total", "From the last byte read to the last byte written.";
    }
}
